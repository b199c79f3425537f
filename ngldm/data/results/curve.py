"""Scores while training, on disk: plots/curve/<noise>.csv, one row for each snapshot. `dvc plots` draws them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from ngldm.io.files import atomic_directory, finite, read_csv, require_rising, write_csv


class CurveRow(TypedDict):
    """The score of one snapshot.

    Attributes:
        step: optimiser steps of the training.
        epoch: the same in passes over the training images.
        value: Frechet distance to the real images.
        metric: name of that distance.
        num_images: generated images that were compared.
    """

    step: int
    epoch: float
    value: float
    metric: str
    num_images: int


COLUMNS = tuple(CurveRow.__annotations__)


def write_curves(rows: Mapping[str, Sequence[CurveRow]], path: Path) -> None:
    """Write a table for each noise. The folder appears complete or not at all.

    Args:
        rows: label of the noise to its rows.
    """
    with atomic_directory(path) as folder:
        for noise, scores in rows.items():
            write_csv(folder / f"{noise}.csv", COLUMNS, scores)


def read_curve(path: Path) -> list[CurveRow]:
    """The rows of one noise; none if its training kept no models.

    Raises:
        InputError: the file is missing or damaged.
    """
    return require_rising(path, read_csv(path, "the stage `curve`", _row, COLUMNS))


def _row(row: dict[str, str]) -> CurveRow:
    return CurveRow(
        step=int(row["step"]),
        epoch=finite(row["epoch"]),
        value=finite(row["value"]),
        metric=row["metric"],
        num_images=int(row["num_images"]),
    )
