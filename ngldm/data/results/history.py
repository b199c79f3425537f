"""The record of a training: its figures at each report, as CSV. `dvc plots` draws them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ngldm.io.files import finite, read_csv, require_rising, write_csv

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


# Without images_per_second, so that the same training gives the same file. MLflow has the speed.
COLUMNS = ("step", "epoch", "loss", "lr", "grad_norm", "heldout_loss")


class HistoryRow(TypedDict):
    """What figures need of one report. `heldout_loss` is None at a step where it was not evaluated."""

    step: int
    loss: float
    heldout_loss: float | None


def write_history(reports: Sequence["DataclassInstance"], path: Path) -> None:
    """Write a training's reports, dataclasses with at least the fields `COLUMNS`, as CSV."""
    write_csv(path, COLUMNS, (asdict(report) for report in reports))


def read_history(path: Path) -> list[HistoryRow]:
    """The rows of a history.

    Raises:
        InputError: the file is missing or damaged.
    """
    return require_rising(path, read_csv(path, "a stage that trains", _row, COLUMNS))


def _row(row: dict[str, str]) -> HistoryRow:
    heldout = finite(row["heldout_loss"]) if row["heldout_loss"] else None
    return HistoryRow(step=int(row["step"]), loss=finite(row["loss"]), heldout_loss=heldout)
