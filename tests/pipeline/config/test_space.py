"""The estimate of the space that a run takes, against what a run has written."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ngldm.io import disk
from ngldm.pipeline.cli.health.disk import needed
from ngldm.pipeline.config.params import load_params, parse_params
from ngldm.pipeline.config.sections import EMAParams
from ngldm.pipeline.config.space import readable, training_bytes, warn_of_space


def test_the_estimate_is_above_what_a_run_wrote_but_not_far(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    written = [*(smoke / "models").rglob("model.safetensors"), *(smoke / "mlartifacts").rglob("model.safetensors")]
    written += [file for top in ("data/latents", "samples", "snapshots") for file in (smoke / top).rglob("*.*")]
    total = sum(file.stat().st_size for file in written)
    estimate = needed(load_params())
    assert estimate is not None
    assert total < estimate < 20 * total


def test_a_training_counts_checkpoints_snapshots_and_copies(content: dict[str, Any]) -> None:
    """Of 1000 weights: four checkpoints of 16 kB; of 100 bytes: a model, in DVC's cache and in MLflow; 5 snapshots, in
    the checkpoints, the output and the cache."""
    train = parse_params(content).train
    steps = {"max_steps": 10 * train.log_every, "snapshot_every": 0}
    assert training_bytes(1000, 100, train.model_copy(update=steps)) == 64_000 + 300
    steps["snapshot_every"] = 2 * train.log_every
    assert training_bytes(1000, 100, train.model_copy(update=steps)) == 64_000 + 300 + 5 * 3 * 100


def test_a_training_counts_its_further_averages(content: dict[str, Any]) -> None:
    """Two more of 4 kB in each of four checkpoints, and 20 snapshots of each, in three places."""
    train = parse_params(content).train.model_copy(update={"snapshot_every": 0})
    further = train.model_copy(update={"ema": EMAParams(sigma_rel=[0.05, 0.1], snapshots=20)})
    assert training_bytes(1000, 100, further) - training_bytes(1000, 100, train) == 4 * 2 * 4000 + 20 * 2 * 3 * 100


def test_a_training_that_will_not_fit_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * 10**9))
    warn_of_space("train laplace", 10**9)
    assert capsys.readouterr().err == ""
    warn_of_space("train laplace", 3_210_000_000)
    assert capsys.readouterr().err == "train laplace: warning: about 3.2 GB are written, 2.0 GB are free\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3_210_000_000, "3.2 GB"), (10**16, "10000.0 TB")],
)
def test_bytes_are_readable(count: int, text: str) -> None:
    assert readable(count) == text
