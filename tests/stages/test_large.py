"""Stages on a data set in shards that is not kept as pixels: what is stopped goes on, and ends with the same bytes."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from ngldm.io.files import read_json, sha256_file
from ngldm.networks.autoencoders.kl import KLAutoencoder
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.terminal import command
from stages.autoencoder import autoencoder
from stages.download import download
from stages.latents import latents
from stages.reference import reference
from stages.train import train

ROOT = Path(__file__).parents[2]
STEPS, CHECKPOINT = 20, 10  # recipe smoke's max_steps and checkpoint_every


def prepare(folder: Path) -> None:
    """params.yaml of recipe smoke, on three shards of the current folder."""
    shutil.copytree(ROOT / "conf", folder / "conf")
    words = {"source": "shards", "shards": "'train-{000..002}.tar'", "test_size": 40, "keep_images": 60}
    words |= {"size": 8, "channels": 1, "image": "png"}
    overrides = ["recipe=smoke", "dataset=webdataset", "noises=[laplace]", "latents.dtype=float16"]
    compose_params(Path("params.yaml"), [*overrides, *(f"dataset.{key}={value}" for key, value in words.items())])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_shards) -> Iterator[Path]:
    """A folder in which download, autoencoder, latents and train have run. Shared: do not change it."""
    folder = tmp_path_factory.mktemp("large")
    make_shards(folder / "shards").write(70, 90, 50)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare(folder)
        download()
        autoencoder("cpu")
        latents("cpu")
        train("laplace", "cpu")
        yield folder


@pytest.fixture
def workspace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return trained


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def test_training_sees_all_images_and_the_autoencoder_a_sample(workspace: Path) -> None:
    content = read_json(paths.DATASET / "dataset.json")
    assert (content["train"], content["test"]) == (60, 40)
    counts = read_json(paths.LATENTS / "statistics.json")["counts"]
    assert counts == {"train": 210 - 40, "test": 40}
    assert read_json(paths.LATENTS / "train.json")["dtype"] == "float16"
    last = paths.train_plot("laplace").read_text().splitlines()[-1]
    assert float(last.split(",")[1]) == pytest.approx(STEPS * 32 / 170)  # epochs


def test_a_stopped_training_ends_with_the_same_bytes(workspace: Path, steps: Callable[..., int]) -> None:
    """Which latents step k takes follows from seed and k alone, so that the reader has no state to save."""
    shutil.rmtree("models/laplace")
    steps(lambda: train("laplace", "cpu"), CHECKPOINT + 5)
    assert not paths.model("laplace").exists()
    train("laplace", "cpu")
    assert sha256_file(paths.model("laplace")) == sha256_file(workspace / paths.model("laplace"))
    assert list(Path("checkpoints").iterdir()) == []


@pytest.mark.parametrize("damage", ["a bit", "rows in another order", "the index of another run"])
def test_a_training_refuses_latents_that_have_changed_before_it_begins(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    shutil.rmtree("models/laplace")
    first, second = (paths.LATENTS / "train" / f"00000{number}.npy" for number in (0, 1))
    if damage == "a bit":
        content = first.read_bytes()
        first.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "rows in another order":
        np.save(first, np.load(first)[::-1])
    else:
        index = paths.LATENTS / "train.json"
        index.write_text(index.read_text().replace(sha256_file(first), sha256_file(second)))
    runs = sqlite3.connect("mlflow.db").execute("select count(*) from runs").fetchone()
    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(SystemExit) as ended:
        command(lambda: train("laplace", "cpu"))()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.count("\n") == 1
    assert "has changed since it was written" in said
    assert not paths.model("laplace").exists()
    assert sqlite3.connect("mlflow.db").execute("select count(*) from runs").fetchone() == runs


def test_stopped_latents_go_on_after_the_last_whole_shard(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(paths.LATENTS)
    change(batch_size=16)  # so that a shard has several batches
    encode, calls = KLAutoencoder.encode, []

    def counted(self: KLAutoencoder, x: torch.Tensor, stop_at: int | None = None) -> torch.Tensor:
        calls.append(len(x))
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return encode(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(KLAutoencoder, "encode", lambda self, x: counted(self, x, stop_at=8))
        with pytest.raises(KeyboardInterrupt):
            latents("cpu")
    assert not paths.LATENTS.exists()
    before, calls[:] = sum(calls[:-1]), []
    with monkeypatch.context() as patch:
        patch.setattr(KLAutoencoder, "encode", counted)
        latents("cpu")
    assert "latents: 1 of 3 shards are done already" in capsys.readouterr().out
    assert before + sum(calls) < 170 + 40 + 90  # less than a shard was encoded twice
    stopped = hashes(paths.LATENTS)
    assert list(Path("checkpoints").iterdir()) == []
    shutil.rmtree(paths.LATENTS)
    latents("cpu")
    assert hashes(paths.LATENTS) == stopped


ON_TWO = """
import os
import signal
import time
from pathlib import Path
from ngldm.data.encoding import Encoding
from ngldm.io import processes
from ngldm.pipeline.terminal import command
from stages.latents import latents

ATTEMPT, encode_shard = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), Encoding.encode_shard


def dies(self, shard, progress):
    encode_shard(self, shard, progress)
    Path(f"made-{ATTEMPT}-{shard.number}").write_text(str(processes.rank()))
    if ATTEMPT == "0" and processes.rank() == 1:
        while not Path("made-0-0").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)


Encoding.encode_shard = dies
command(latents, many=True)()
"""


def test_two_processes_of_which_one_is_killed_write_the_latents_of_one(workspace: Path) -> None:
    shutil.rmtree(paths.LATENTS)
    Path("on_two.py").write_text(ON_TWO)
    variables = {"NGLDM_PROCESSES": "2", "NGLDM_TIMEOUT": "60", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "on_two.py", "--device", "cpu"]
    done = subprocess.run(call, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashes(paths.LATENTS) == hashes(workspace / paths.LATENTS)
    # The shards that were whole are not made again, also that of the process that was killed.
    assert {path.name: path.read_text() for path in Path().glob("made-*")} == {
        "made-0-0": "0",
        "made-0-1": "1",
        "made-1-2": "0",
    }
    assert done.stdout.count("latents: 2 of 3 shards are done already") == 1
    assert list(Path("checkpoints").iterdir()) == []


def change(**values: object) -> None:
    content = YAML(typ="safe").load(Path("params.yaml"))
    content["latents"].update(values)
    YAML().dump(content, Path("params.yaml"))


def test_scores_compare_with_the_sample_and_count_epochs_of_all(workspace: Path) -> None:
    reference("cpu")
    about = json.loads((paths.REFERENCE / "reference.json").read_text())
    assert (about["num_images"], about["train_images"], about["floor_num_images"]) == (60, 170, 40)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "txt"}, "dataset.label: no 'txt' in sample 000000 of shards/train-000.tar; it has cls, png"),
        ({"shards": "train-{000..004}.tar"}, "dataset.shards: 2 of 5 shards do not exist, the first is shards/"),
        ({"keep_pixels": True}, "dataset.keep_images: 60; needed with keep_pixels false, and only there"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(workspace: Path, options: dict[str, object], message: str) -> None:
    content = YAML(typ="safe").load(Path("params.yaml"))
    content["dataset"].update(options)
    content["latents"]["dtype"] = "float32"
    YAML().dump(content, Path("params.yaml"))
    done = subprocess.run([sys.executable, "-m", "stages.download"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
