"""The record of a training: its figures at each report, as CSV; what `dvc plots` draws."""

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ngldm.io.files import atomic_path, require

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


# Without images_per_second: the same training gives the same file. MLflow has the speed.
COLUMNS = ("step", "epoch", "loss", "lr", "grad_norm", "heldout_loss")


def write_history(reports: Sequence["DataclassInstance"], path: Path) -> None:
    """Write a training's reports, dataclasses with at least the fields `COLUMNS`, as CSV."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(report) for report in reports)


def read_history(path: Path) -> list[dict[str, float | None]]:
    """Rows of step, loss and heldout_loss (None where it was not evaluated).

    Raises:
        InputError: the file is missing.
    """
    with require(path).open(newline="") as file:
        return [
            {
                "step": int(row["step"]),
                "loss": float(row["loss"]),
                "heldout_loss": float(row["heldout_loss"]) if row["heldout_loss"] else None,
            }
            for row in csv.DictReader(file)
        ]
