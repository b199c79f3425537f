"""The scores of the study, on disk: study/scores.csv."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ngldm.io.files import atomic_directory, read_csv, write_csv


class StudyRow(TypedDict):
    """One score: of one training, one sampler and one sampling seed.

    Attributes:
        variant: label of what was trained.
        train_seed, sample_seed: from 0.
        sampler: its label.
        noise: name of the distribution.
        forward, objective: of the diffusion.
        network_calls: per image.
        value: Frechet distance to the training images.
        outliers: fraction of images with a latent far outside the range of the training latents.
    """

    variant: str
    train_seed: int
    sampler: str
    sample_seed: int
    noise: str
    forward: str
    objective: str
    network_calls: int
    value: float
    outliers: float


COLUMNS = tuple(StudyRow.__annotations__)


def write_scores(rows: Sequence[StudyRow], path: Path) -> None:
    """Write the folder with its table, sorted by variant, seeds and sampler. It appears complete or not at all."""
    ordered: list[StudyRow] = sorted(rows, key=_order)
    with atomic_directory(path) as folder:
        write_csv(folder / "scores.csv", COLUMNS, ordered)


def _order(row: StudyRow) -> tuple[str, str, str, str]:
    return row["variant"], str(row["train_seed"]), row["sampler"], str(row["sample_seed"])


def read_scores(path: Path) -> list[StudyRow]:
    """The rows of the folder's table; none if the study had no variants.

    Raises:
        InputError: the file is missing or damaged.
    """
    return read_csv(path / "scores.csv", "the stage `study`", _row, COLUMNS)


def _row(row: dict[str, str]) -> StudyRow:
    return StudyRow(
        variant=row["variant"],
        train_seed=int(row["train_seed"]),
        sampler=row["sampler"],
        sample_seed=int(row["sample_seed"]),
        noise=row["noise"],
        forward=row["forward"],
        objective=row["objective"],
        network_calls=int(row["network_calls"]),
        value=float(row["value"]),
        outliers=float(row["outliers"]),
    )
