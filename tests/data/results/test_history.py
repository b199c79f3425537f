"""The record of a training as CSV: what is written is what is read; nothing in it depends on the machine's speed."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ngldm.data.results.history import COLUMNS, read_history, write_history
from ngldm.io.errors import InputError


@dataclass(frozen=True)
class Report:
    step: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    images_per_second: float
    heldout_loss: float | None


REPORTS = [Report(5, 0.5, 1.25, 0.001, 2.0, 100.0, None), Report(10, 1.0, 0.1 + 0.2, 0.001, 1.0, 90.0, 0.5)]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    write_history(REPORTS, tmp_path / "a.csv")
    assert read_history(tmp_path / "a.csv") == [
        {"step": 5, "loss": 1.25, "heldout_loss": None},
        {"step": 10, "loss": 0.1 + 0.2, "heldout_loss": 0.5},
    ]


def test_a_faster_machine_writes_the_same_bytes(tmp_path: Path) -> None:
    write_history(REPORTS, tmp_path / "a.csv")
    write_history([replace(report, images_per_second=1e6) for report in REPORTS], tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_without_a_training_there_are_the_columns_alone(tmp_path: Path) -> None:
    write_history([], tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().split() == [",".join(COLUMNS)]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv"):
        read_history(tmp_path / "none.csv")
