"""The scores of the study, on disk: study/scores.csv, and study/further.csv where further scores were asked for."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from ngldm.io.errors import InputError
from ngldm.io.files import atomic_directory, read_csv, write_csv

MADE_BY = "the stage `study`"


class StudyRow(TypedDict):
    """One score: of one training, one sampler and one sampling seed.

    Attributes:
        variant: label of what was trained.
        train_seed, sample_seed: from 0.
        sampler: its label.
        noise: name of the distribution.
        forward, objective: of the diffusion.
        network_calls: per image.
        value: Frechet distance to the training images; NaN if generated images hold NaN or infinite numbers.
        outliers: fraction of images with a latent far outside the range of the training latents.
        further: other scores by name (`ngldm.scoring.further`).
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
    further: dict[str, float]


COLUMNS = tuple(key for key in StudyRow.__annotations__ if key != "further")
KEY = ("variant", "train_seed", "sampler", "sample_seed")
FURTHER_COLUMNS = (*KEY, "score", "value")


def write_scores(rows: Sequence[StudyRow], path: Path) -> None:
    """Write the folder with its tables, sorted by variant, seeds and sampler. It appears complete or not at all.

    further.csv has a line for each further score; without any there is no such file.
    """
    ordered: list[StudyRow] = sorted(rows, key=_order)
    further = [{**row, "score": score, "value": value} for row in ordered for score, value in row["further"].items()]
    with atomic_directory(path) as folder:
        write_csv(folder / "scores.csv", COLUMNS, ordered)
        if further:
            write_csv(folder / "further.csv", FURTHER_COLUMNS, further)


def _order(row: StudyRow) -> tuple[str, str, str, str]:
    return row["variant"], str(row["train_seed"]), row["sampler"], str(row["sample_seed"])


def read_scores(path: Path) -> list[StudyRow]:
    """The rows of the folder's tables; none if the study had no variants.

    Raises:
        InputError: a file is missing or damaged.
    """
    rows = read_csv(path / "scores.csv", MADE_BY, _row, COLUMNS)
    _require_whole_table(path / "scores.csv", rows)
    if (path / "further.csv").is_file():
        by_key = {_key(row): row["further"] for row in rows}
        for key, score, value in read_csv(path / "further.csv", MADE_BY, _further, FURTHER_COLUMNS):
            if key not in by_key:
                raise InputError(f"{path / 'further.csv'}: scores.csv has no line for {', '.join(key)}")
            by_key[key][score] = value
    return rows


def _require_whole_table(path: Path, rows: Sequence[StudyRow]) -> None:
    """Check that no line is missing or there twice: each variant has all its samplers with all its seeds.

    Raises:
        InputError: one is.
    """
    for variant in {row["variant"] for row in rows}:
        own = [row for row in rows if row["variant"] == variant]
        found = {_key(row) for row in own}
        each = math.prod(len({str(row.get(key)) for row in own}) for key in KEY)
        if not len(found) == len(own) == each:
            raise InputError(
                f"{path}: variant {variant!r} has lines that are missing or there twice; run {MADE_BY} again"
            )


def _key(row: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in KEY)


def _further(row: dict[str, str]) -> tuple[tuple[str, ...], str, float]:
    return _key(row), row["score"], float(row["value"])


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
        further={},
    )
