"""The study's scores as means over seeds, with their spread."""

import math
import statistics
from collections.abc import Sequence
from typing import TypedDict

from ngldm.data.results.study import StudyRow

BASELINE = "gaussian"


class StudySummary(TypedDict):
    """The scores of one variant and sampler.

    Attributes:
        noise: name of the variant's distribution.
        network_calls: per image.
        mean: of all scores; NaN if one is NaN, because its images are not finite.
        std: standard deviation of all scores; NaN if there is only one.
        std_error: standard error of the mean. It comes from the spread between trainings, because these are
            independent, while sampling seeds of one training are not. NaN if there is only one training.
        ratio: the mean divided by the smallest mean of any Gaussian variant on the same data set; NaN if there is none.
        outliers: mean fraction of images that are outliers.
        seeds: trainings x sampling seeds, for example "3x3".
    """

    variant: str
    noise: str
    sampler: str
    network_calls: int
    mean: float
    std: float
    std_error: float
    ratio: float
    outliers: float
    seeds: str


class FurtherSummary(TypedDict):
    """A further score of one variant and sampler.

    Attributes:
        score: its name.
        mean, std_error: as in `StudySummary`.
        trainings: that have the score; one whose images are not finite has not.
    """

    variant: str
    sampler: str
    score: str
    mean: float
    std_error: float
    trainings: int


def summarise(rows: Sequence[StudyRow], data: Sequence[str] = ()) -> list[StudySummary]:
    """A summary of every variant and sampler: variants in the order of the rows, the best sampler of each first.

    Args:
        data: the labels of `study.data`, with which variants begin. Only variants on the same data set are compared.
    """
    groups = _groups(rows)
    means = {key: statistics.fmean(row["value"] for row in group) for key, group in groups.items()}
    baselines: dict[str, float] = {}
    for key, group in groups.items():
        if group[0]["noise"] == BASELINE and not math.isnan(means[key]):
            where = _data_of(key[0], data)
            baselines[where] = min(means[key], baselines.get(where, math.inf))
    order = {variant: i for i, variant in enumerate(dict.fromkeys(row["variant"] for row in rows))}
    summary = [_summary(group, baselines.get(_data_of(key[0], data), math.nan)) for key, group in groups.items()]
    return sorted(summary, key=lambda row: (order[row["variant"]], math.isnan(row["mean"]), row["mean"]))


def summarise_further(rows: Sequence[StudyRow]) -> list[FurtherSummary]:
    """A summary of every further score of every variant and sampler, in the order of the rows."""
    found = []
    for (variant, sampler), group in _groups(rows).items():
        for score in dict.fromkeys(name for row in group for name in row["further"]):
            with_score = [row for row in group if score in row["further"]]
            values = [row["further"][score] for row in with_score]
            error, trainings = _std_error(with_score, values)
            found.append(
                FurtherSummary(
                    variant=variant,
                    sampler=sampler,
                    score=score,
                    mean=statistics.fmean(values),
                    std_error=error,
                    trainings=trainings,
                )
            )
    return found


def _groups(rows: Sequence[StudyRow]) -> dict[tuple[str, str], list[StudyRow]]:
    groups: dict[tuple[str, str], list[StudyRow]] = {}
    for row in rows:
        groups.setdefault((row["variant"], row["sampler"]), []).append(row)
    return groups


def _data_of(variant: str, data: Sequence[str]) -> str:
    """The label of the variant's data set, "" without any. Of two that fit the longer one."""
    return max((label for label in data if variant.startswith(f"{label}_")), key=len, default="")


def _std_error(group: Sequence[StudyRow], values: Sequence[float]) -> tuple[float, int]:
    """Standard error of the mean of the trainings' means (NaN for one training), and the number of trainings."""
    trainings: dict[int, list[float]] = {}
    for row, value in zip(group, values, strict=True):
        trainings.setdefault(row["train_seed"], []).append(value)
    means = [statistics.fmean(scores) for scores in trainings.values()]
    return _deviation(means) / math.sqrt(len(means)), len(means)


def _deviation(values: Sequence[float]) -> float:
    """Standard deviation; NaN of a single value, and if one is NaN."""
    return math.nan if len(values) < 2 or any(map(math.isnan, values)) else statistics.stdev(values)


def _summary(group: Sequence[StudyRow], baseline: float) -> StudySummary:
    values = [row["value"] for row in group]
    error, trainings = _std_error(group, values)
    mean = statistics.fmean(values)
    return StudySummary(
        variant=group[0]["variant"],
        noise=group[0]["noise"],
        sampler=group[0]["sampler"],
        network_calls=group[0]["network_calls"],
        mean=mean,
        std=_deviation(values),
        std_error=error,
        ratio=mean / baseline,
        outliers=statistics.fmean(row["outliers"] for row in group),
        seeds=f"{trainings}x{len(group) // trainings}",
    )
