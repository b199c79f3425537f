"""The study: what is averaged over what, and that a training and its scores follow from their seeds."""

import csv
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from ngldm.data.reference import Reference
from ngldm.data.statistics import latent_extent
from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array
from ngldm.model import Model
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.config.sections import Fit
from ngldm.pipeline.experiments import study as jobs
from ngldm.pipeline.experiments.study import Job, Score, run_jobs, score_samplers, train_model
from ngldm.sampling.best import SamplerSettings
from ngldm.scoring.frechet import Moments
from ngldm.scoring.scorer import Scorer
from stages.curve import curve
from stages.study import study

CONFIG = {
    "noise": {"name": "laplace", "params": {}},
    "schedule": {"name": "cosine", "num_train_timesteps": 20},
    "diffusion": {"forward": "markov", "objective": "x0", "weighting": "min_snr", "gamma": None},
    "unet": {
        "widths": [8],
        "blocks_per_level": 1,
        "attention_levels": [],
        "attention_head_dim": 8,
        "time_embedding": "sinusoidal",
        "dropout": 0.0,
    },
    "autoencoder": {"kind": "identity"},
    "image_shape": (1, 4, 4),
}
FIT = Fit(
    max_steps=5,
    batch_size=8,
    lr=1e-3,
    weight_decay=0.0,
    warmup_steps=0,
    lr_schedule="constant",
    ema_decay=0.5,
    grad_clip=1.0,
    precision="fp32",
    compile=False,
    log_every=5,
    eval_every=5,
)
LATENTS = np.random.default_rng(0).normal(size=(32, 1, 4, 4)).astype(np.float32)
SAMPLERS: dict[str, SamplerSettings] = {
    "heun": {"method": "heun", "num_inference_steps": 3},
    "ancestral": {"method": "ancestral", "num_inference_steps": 4},
}


class Pixels:
    """Extractor of the mean and the first pixel."""

    name, metric, dim, weights_sha256 = "pixels", "fd", 2, "0"

    def __call__(self, images: UInt8Array) -> torch.Tensor:
        flat = torch.from_numpy(images).flatten(1).float()
        return torch.stack([flat.mean(1), flat[:, 0]], dim=1) / 50.0


def reference() -> Reference:
    features = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    moments = Moments(2).update(features)
    return Reference(moments.mean, moments.cov, features, {})


def trained(seed: int) -> Model:
    torch.manual_seed(seed)
    model = Model.build(CONFIG, None, None, latent_extent(LATENTS))
    train_model(model, LATENTS, FIT, seed, "cpu")
    return model


def scores(seed: int, batch_size: int = 8) -> list[Score]:
    scorer = Scorer(Pixels(), reference(), 16, (), 64, torch.device("cpu"))
    return score_samplers(trained(seed), SAMPLERS, [0, 1], 16, batch_size, scorer)


def test_scores_follow_from_the_seeds() -> None:
    first = scores(0)
    assert first == scores(0)
    assert [(s.sampler, s.sample_seed, s.network_calls) for s in first] == [
        ("heun", 0, 5),
        ("heun", 1, 5),
        ("ancestral", 0, 4),
        ("ancestral", 1, 4),
    ]
    assert len({s.value for s in [*first, *scores(1)]}) == 8
    assert all(0.0 <= s.outliers <= 1.0 for s in first)
    for one, other in zip(first, scores(0, batch_size=5), strict=True):  # up to rounding of the network
        assert one.value == pytest.approx(other.value, rel=1e-2)


@pytest.fixture
def workspace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recipe smoke, trained and with snapshots, and a study of one variant, one seed, one sampler."""
    for name in ("data", "models", "snapshots"):
        shutil.copytree(smoke / name, tmp_path / name)
    shutil.copy(smoke / "mlflow.db", tmp_path)
    content = YAML(typ="safe").load(smoke / "params.yaml")
    content["study"] |= {
        "variants": {"a": {"noise": {"distribution": "laplace"}}},
        "samplers": {"s": {"method": "heun", "num_inference_steps": 3}},
        "train_seeds": 1,
        "sample_seeds": 2,
        "num_images": 32,
    }
    YAML().dump(content, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(section: str, **values: object) -> None:
    content = YAML(typ="safe").load(Path("params.yaml"))
    content[section].update(values)
    YAML().dump(content, Path("params.yaml"))


def values(file: Path) -> list[float]:
    with file.open(newline="") as lines:
        return [float(row["value"]) for row in csv.DictReader(lines)]


def test_a_finished_job_is_computed_again_only_when_what_decides_it_changes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # In this process, which has its imports already; the test below has processes of their own.
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda workers, **settings: ThreadPoolExecutor(1))
    table = paths.STUDY / "scores.csv"
    study("cpu")
    first = table.read_bytes()
    assert [row.split(",")[:4] for row in first.decode().splitlines()[1:]] == [
        ["a", "0", "s", "0"],
        ["a", "0", "s", "1"],
    ]
    (kept,) = Path("checkpoints/study").iterdir()
    content = json.loads(kept.read_text())
    for row in content["rows"]:
        row["value"] = -1.0  # which no scoring gives: it shows where a kept result is read back
    kept.write_text(json.dumps(content))
    change("train", log_every=10, eval_every=7, checkpoint_every=3, export="last", snapshot_every=20)
    study("cpu")
    assert values(table) == [-1.0, -1.0]
    assert "not used" not in capsys.readouterr().out
    change("train", lr=2e-3)
    study("cpu")
    assert "study a-0: kept result " in (said := capsys.readouterr().out)
    assert "not used, changed since: settings.train.lr\n" in said
    assert min(values(table)) > 0.0
    assert table.read_bytes() != first


def test_a_model_that_stein_cannot_sample_is_named_before_any_training() -> None:
    """In an empty folder: it would fail later for want of latents."""
    samplers: dict[str, SamplerSettings] = {"s": {"method": "stein", "num_inference_steps": 3}}
    settings = {**CONFIG, "diffusion": {"objective": "x0"}}
    job = Job("a", 0, settings, samplers, FIT, {"sample_seeds": [0], "num_images": 4, "batch_size": 4})
    with pytest.raises(
        InputError, match=r"study\.variants\.a: sampler method: 'stein' needs K_bar of the noise 'laplace'"
    ):
        run_jobs([job], "cpu", 1, lambda done: None)


def test_the_study_looks_for_inceptions_weights_where_the_settings_say(workspace: Path) -> None:
    about = json.loads((paths.REFERENCE / "reference.json").read_text())
    (paths.REFERENCE / "reference.json").write_text(json.dumps({**about, "extractor": "inception"}))
    change("evaluate", extractor="inception", inception_weights="here.pth")
    with pytest.raises(InputError, match=r"here\.pth"):
        study("cpu")


def test_an_edit_of_the_distance_changes_both_tables(
    workspace: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The distance is doubled in a copy of the code in the working directory, as in DVC's experiment copies."""
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda workers, **settings: ThreadPoolExecutor(1))
    tables = [paths.STUDY / "scores.csv", paths.CURVE / "laplace.csv", paths.CURVE / "gaussian.csv"]
    curve("cpu")
    study("cpu")
    before = [values(table) for table in tables]
    for package in ("ngldm", "stages"):
        shutil.copytree(root / package, workspace / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (workspace / "ngldm" / "scoring" / "frechet.py").open("a") as file:
        file.write("\n\nplain = frechet_distance\n\n\ndef frechet_distance(*args):\n    return 2.0 * plain(*args)\n")
    code = "from stages import curve, study; curve.curve('cpu'); study.study('cpu')"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outputs = [line for line in done.stdout.splitlines() if "not used" in line]
    assert [values(table) for table in tables] == [[2.0 * value for value in rows] for rows in before]
    assert len(outputs) == 5  # two snapshots of two noises, one training
    assert all(line.endswith("not used, changed since: code") for line in outputs)


KILLED = """
import os, time
from ngldm.pipeline.experiments.study import worker_pool

def work():
    print(os.getpid(), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    worker_pool(1).submit(work)
    time.sleep(120)
"""


def test_workers_end_when_the_stage_is_killed(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    root = Path(__file__).parents[3]
    stage = subprocess.Popen(
        [sys.executable, "killed.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stage.stdout is not None
    assert int(stage.stdout.readline()) != stage.pid
    stage.kill()
    assert stage.communicate(timeout=60) == ("", None)  # ends when the last process that can write has ended
