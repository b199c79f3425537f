"""The study's scores as means over seeds, with their spread."""

import math
import statistics
from collections.abc import Sequence
from typing import TypedDict

from ngldm.data.study import StudyRow

BASELINE = "gaussian"


class StudySummary(TypedDict):
    """The scores of one variant and sampler.

    Attributes:
        noise: name of the variant's distribution.
        network_calls: per image.
        mean: of all scores.
        std: standard deviation of all scores; NaN if there is only one.
        std_error: standard error of the mean. It comes from the spread between trainings, because these are
            independent, while sampling seeds of one training are not. NaN if there is only one training.
        ratio: the mean divided by the smallest mean of any Gaussian variant; NaN if there is none.
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


def summarise(rows: Sequence[StudyRow]) -> list[StudySummary]:
    """A summary of every variant and sampler: variants in the order of the rows, the best sampler of each first."""
    groups: dict[tuple[str, str], list[StudyRow]] = {}
    for row in rows:
        groups.setdefault((row["variant"], row["sampler"]), []).append(row)
    means = {key: statistics.fmean(row["value"] for row in group) for key, group in groups.items()}
    gaussian = [means[key] for key, group in groups.items() if group[0]["noise"] == BASELINE]
    baseline = min(gaussian, default=math.nan)
    order = {variant: i for i, variant in enumerate(dict.fromkeys(row["variant"] for row in rows))}
    summary = [_summary(group, baseline) for group in groups.values()]
    return sorted(summary, key=lambda row: (order[row["variant"]], row["mean"]))


def _summary(group: Sequence[StudyRow], baseline: float) -> StudySummary:
    values = [row["value"] for row in group]
    trainings: dict[int, list[float]] = {}
    for row in group:
        trainings.setdefault(row["train_seed"], []).append(row["value"])
    means = [statistics.fmean(scores) for scores in trainings.values()]
    mean = statistics.fmean(values)
    return StudySummary(
        variant=group[0]["variant"],
        noise=group[0]["noise"],
        sampler=group[0]["sampler"],
        network_calls=group[0]["network_calls"],
        mean=mean,
        std=statistics.stdev(values) if len(values) > 1 else math.nan,
        std_error=statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan,
        ratio=mean / baseline,
        outliers=statistics.fmean(row["outliers"] for row in group),
        seeds=f"{len(trainings)}x{len(group) // len(trainings)}",
    )
