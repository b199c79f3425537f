"""The study's jobs: which are computed again, and what is refused before them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ngldm.io.errors import InputError
from ngldm.io.files import fingerprint
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.config.sections import Fit
from ngldm.pipeline.experiments.study import run as jobs
from ngldm.pipeline.experiments.study.compute import Job
from ngldm.pipeline.experiments.study.run import run_jobs
from ngldm.sampling.best import SamplerSettings
from stages.curve import curve
from stages.study import study

SETTINGS = {
    "noise": {"name": "laplace", "params": {}},
    "schedule": {"name": "cosine", "num_train_timesteps": 20},
    "diffusion": {"objective": "x0"},
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


@pytest.fixture
def workspace(copied: Callable[..., Path]) -> Path:
    """Recipe smoke, trained and with snapshots, and a study of one variant, one seed, one sampler."""
    folder = copied("data", "models", "snapshots", "mlflow.db", "params.yaml")
    content = YAML(typ="safe").load(folder / "params.yaml")
    content["study"] |= {
        "variants": {"a": {"noise": {"distribution": "laplace"}}},
        "samplers": {"s": {"method": "heun", "num_inference_steps": 3}},
        "train_seeds": 1,
        "sample_seeds": 2,
        "num_images": 32,
    }
    YAML().dump(content, folder / "params.yaml")
    return folder


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
    content["sha256"] = fingerprint(content["rows"])
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
    job = Job("a", 0, SETTINGS, samplers, FIT, {"sample_seeds": [0], "num_images": 4, "batch_size": 4})
    with pytest.raises(
        InputError, match=r"study\.variants\.a: sampler method: 'stein' needs K_bar of the noise 'laplace'"
    ):
        run_jobs([job], "cpu", 1, lambda done: None)


def test_the_study_looks_for_inceptions_weights_where_the_settings_say(workspace: Path) -> None:
    about = json.loads((paths.REFERENCE / "reference.json").read_text())
    del about["sha256"]  # else it would not be whole
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
    with (workspace / "ngldm" / "scoring" / "distance" / "frechet.py").open("a") as file:
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
from ngldm.pipeline.experiments.study.run import worker_pool

def work():
    print(os.getpid(), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    with worker_pool(1) as pool:
        pool.submit(work)
        time.sleep(120)
"""


@pytest.mark.parametrize("name", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_when_the_stage_is_killed(tmp_path: Path, name: signal.Signals) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    root = Path(__file__).parents[4]
    stage = subprocess.Popen(
        [sys.executable, "killed.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert stage.stdout is not None
    assert int(stage.stdout.readline()) != stage.pid
    stage.send_signal(name)
    assert stage.communicate(timeout=60) == ("", None)  # ends when the last process that can write has ended
