"""A training that was stopped: what it goes on from, when it starts anew, and that it says why."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from ngldm.io.files import read_json, sha256_file
from ngldm.io.tensors import load_tensors, save_tensors
from ngldm.model import Model
from ngldm.pipeline import workspace as paths
from stages.autoencoder import autoencoder
from stages.reference import reference
from stages.train import train

STEPS, CHECKPOINT = 20, 10  # recipe smoke's max_steps and checkpoint_every
MODEL = paths.model("laplace")


@pytest.fixture
def workspace(copied: Callable[..., Path]) -> Path:
    """Recipe smoke with data and autoencoder, nothing trained but what it holds as the expected outcome."""
    return copied("conf", "data", "models", "snapshots", "params.yaml", "mlflow.db")


def train_laplace() -> None:
    train("laplace", "cpu")


def change(section: str, **values: object) -> None:
    content = YAML(typ="safe").load(Path("params.yaml"))
    place = content
    for name in section.split("."):
        place = place[name]
    place.update(values)
    YAML().dump(content, Path("params.yaml"))


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.iterdir()}


def reported_steps(path: Path) -> list[int]:
    with path.open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def checkpoints() -> list[Path]:
    return sorted(Path("checkpoints").rglob("*.safetensors"))


def test_a_killed_training_loses_at_most_an_interval_and_ends_as_if_nothing_had_happened(
    workspace: Path, steps: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    expected, snapshots = sha256_file(MODEL), hashes(paths.snapshots("laplace"))
    shutil.rmtree("models/laplace")
    shutil.rmtree("snapshots")
    steps(train_laplace, kill_after=15)
    assert not MODEL.exists()
    assert not Path("snapshots").exists()
    (last,) = Path("checkpoints").glob("*/last.safetensors")
    tensors, state = load_tensors(last)
    save_tensors(tensors, {**state, "seconds": 1e6}, last)
    assert steps(train_laplace) == STEPS - CHECKPOINT
    assert 1e6 < read_json(paths.metrics("train", "laplace"))["train_seconds"] < 1e6 + 100  # the time of both
    assert sha256_file(MODEL) == expected
    assert hashes(paths.snapshots("laplace")) == snapshots
    assert "not used" not in capsys.readouterr().out
    assert list(Path("checkpoints").iterdir()) == []


def test_a_killed_training_has_the_averages_of_one_that_was_not_and_the_model_of_one_without(
    workspace: Path, steps: Callable[..., int]
) -> None:
    expected, kept = sha256_file(MODEL), paths.snapshots("laplace") / "ema"
    assert not kept.exists()
    change("train", ema={"snapshots": 6})
    train_laplace()
    averages = hashes(kept)
    assert sorted(averages) == [f"{step:09d}.safetensors" for step in (3, 7, 10, 13, 17, 20)]
    assert sha256_file(MODEL) == expected
    shutil.rmtree(paths.snapshots("laplace"))
    steps(train_laplace, kill_after=15)
    assert steps(train_laplace) == STEPS - CHECKPOINT
    assert hashes(kept) == averages
    change("train", ema=None)
    train_laplace()
    assert not kept.exists()


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        ({"log_every": 2}, [5, 10, 12, 14, 16, 18, 20]),  # up to the checkpoint with the interval that it had
        ({"eval_every": 3}, [5, 10, 12, 15, 18, 20]),
        ({"checkpoint_every": 3}, [5, 10, 15, 20]),
    ],
)
def test_what_decides_no_weight_may_change_on_the_way(
    workspace: Path, steps: Callable[..., int], values: dict[str, int], rows: list[int]
) -> None:
    expected, snapshots = sha256_file(MODEL), hashes(paths.snapshots("laplace"))
    steps(train_laplace, kill_after=15)
    change("train", **values)
    assert steps(train_laplace) == STEPS - CHECKPOINT
    assert sha256_file(MODEL) == expected
    assert hashes(paths.snapshots("laplace")) == snapshots
    assert reported_steps(paths.train_plot("laplace")) == rows


def test_another_number_of_threads_goes_on_too(workspace: Path, steps: Callable[..., int]) -> None:
    threads = torch.get_num_threads()
    change("train", checkpoint_every=STEPS - 1)
    steps(train_laplace, kill_after=STEPS - 1)
    torch.set_num_threads(threads + 1)  # slow if the cores are busy, so only for one step
    try:
        assert steps(train_laplace) == 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("section", "values", "reason"),
    [
        ("train", {"lr": 2e-3}, "settings.train.lr"),
        ("train", {"ema": {"sigma_rel": [0.1]}}, "settings.train.ema"),
        ("train", {"export": "best"}, "settings.train.eval_every, settings.train.export"),
        ("noise_options", {"laplace": {"distribution": "gumbel"}}, "settings.noise.name"),
    ],
)
def test_another_setting_starts_anew_and_a_line_says_which(
    workspace: Path,
    steps: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    section: str,
    values: dict[str, Any],
    reason: str,
) -> None:
    steps(train_laplace, kill_after=15)
    change(section, **values)
    assert steps(train_laplace) == STEPS
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "not used" in line]
    assert line.startswith("train laplace: checkpoint of step 10 in ")
    changed = line.split("changed since: ")[1].split(", ")
    assert sorted(changed) == sorted(reason.split(", "))
    ended = sha256_file(MODEL)
    shutil.rmtree("checkpoints")
    assert steps(train_laplace) == STEPS
    assert sha256_file(MODEL) == ended


def test_a_crash_after_the_last_step_costs_no_training(
    workspace: Path, steps: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sha256_file(MODEL)

    def full(*args: object) -> None:
        raise OSError("no space left on device")

    change("train", snapshot_every=0)
    with monkeypatch.context() as patch:
        patch.setattr(Model, "save", full)
        with pytest.raises(OSError, match="no space"):
            train_laplace()
    MODEL.unlink()
    assert steps(train_laplace) == 0
    assert sha256_file(MODEL) == expected
    assert steps(train_laplace) == STEPS  # what is done is done: a forced repetition trains


def test_the_autoencoder_goes_on(
    workspace: Path, steps: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = sha256_file(paths.AUTOENCODER)
    paths.AUTOENCODER.unlink()
    change("autoencoder.fit", eval_every=5)
    steps(lambda: autoencoder("cpu"), kill_after=17)
    change("autoencoder.fit", eval_every=20)
    assert steps(lambda: autoencoder("cpu")) == STEPS - 15
    assert sha256_file(paths.AUTOENCODER) == expected
    assert checkpoints() == []
    change("autoencoder.fit", eval_every=5)
    steps(lambda: autoencoder("cpu"), kill_after=17)
    change("autoencoder", width=9)
    assert steps(lambda: autoencoder("cpu")) == STEPS
    assert "autoencoder: checkpoint of step 15 in " in (said := capsys.readouterr().out)
    assert "not used, changed since: settings.width\n" in said


def test_the_classifier_goes_on(workspace: Path, steps: Callable[..., int]) -> None:
    expected = hashes(paths.REFERENCE)
    change("reference.fit", eval_every=20)
    steps(lambda: reference("cpu"), kill_after=45)
    assert hashes(paths.REFERENCE) == expected  # a stopped stage leaves its output alone
    assert steps(lambda: reference("cpu")) == 60 - 40
    assert hashes(paths.REFERENCE) == expected
    assert checkpoints() == []


def test_an_edit_of_the_training_loop_starts_anew(workspace: Path, root: Path, steps: Callable[..., int]) -> None:
    """The rate is doubled in a copy of the code in the working directory, as in one of DVC's experiment copies."""
    steps(train_laplace, kill_after=15)
    old = sha256_file(MODEL)
    for package in ("ngldm", "stages"):
        shutil.copytree(root / package, workspace / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (workspace / "ngldm" / "training" / "loop.py").open("a") as file:
        file.write("\n\nplain = lr_at\n\n\ndef lr_at(config, step):\n    return 2.0 * plain(config, step)\n")
    code = (
        "import shutil; from pathlib import Path; from stages.train import train; train('laplace', 'cpu'); "
        f"model = Path('{MODEL}'); model.rename('resumed'); shutil.rmtree('checkpoints'); train('laplace', 'cpu'); "
        "model.rename('fresh')"
    )
    environment = {**os.environ, "PYTHONPATH": str(root)}
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train laplace: checkpoint of step 10 in " in done.stdout
    assert "not used, changed since: code\n" in done.stdout
    assert "train laplace: removed " in done.stdout
    assert sha256_file(Path("resumed")) == sha256_file(Path("fresh")) != old
