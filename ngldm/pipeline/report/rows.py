"""The rows of the table of scores: one per training and sampler, and their means over the trainings of a noise."""

import statistics
from collections.abc import Sequence
from typing import TypedDict


class ScoreRow(TypedDict):
    """The scores of one training and sampler, a row of reports/table.csv; or their means (`average`).

    Attributes:
        noise, sampler: their labels.
        seeds: the seed of the training; of a mean all seeds.
        method: the algorithm of the sampler; for a sampler `auto` the one that was chosen.
        settings: all settings of the sampler in words, except its start noise (`describe`).
        start_noise: kind of noise that sampling started from.
        network_calls: per image.
        metric: name of the Frechet distance.
        value: that distance; lower is better.
        spread: its standard deviation over sets of as many generated images (`ngldm.scoring.evaluation.spread`).
        kid: kernel distance; lower is better.
        precision, recall: in [0, 1]; higher is better.
        num_samples: generated images that were scored.
        extractor: name of the network that gives the features.
        train_seconds, sample_seconds: wall-clock time.
    """

    noise: str
    sampler: str
    seeds: str
    method: str
    settings: str
    start_noise: str
    network_calls: int
    metric: str
    value: float
    spread: float
    kid: float
    precision: float
    recall: float
    num_samples: int
    extractor: str
    train_seconds: float
    sample_seconds: float


COLUMNS = tuple(ScoreRow.__annotations__)


def std_error(values: Sequence[float]) -> float:
    """Standard error of the mean, s / sqrt(n), of at least two values."""
    return statistics.stdev(values) / len(values) ** 0.5


def several(rows: Sequence[ScoreRow]) -> bool:
    """Whether the noises have more than one training each."""
    return len({row["seeds"] for row in rows}) > 1


def average(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """One row per noise and sampler: means over its trainings, and as `spread` the standard error of the mean `value`.

    Rows of noises with one training stay as they are.
    """
    groups: dict[tuple[str, str], list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault((row["noise"], row["sampler"]), []).append(row)
    return [_mean(group) if len(group) > 1 else group[0] for group in groups.values()]


def _mean(group: Sequence[ScoreRow]) -> ScoreRow:
    mean = group[0].copy()
    mean["seeds"] = ", ".join(row["seeds"] for row in group)
    mean["value"] = statistics.fmean(row["value"] for row in group)
    mean["spread"] = std_error([row["value"] for row in group])
    mean["kid"] = statistics.fmean(row["kid"] for row in group)
    mean["precision"] = statistics.fmean(row["precision"] for row in group)
    mean["recall"] = statistics.fmean(row["recall"] for row in group)
    mean["train_seconds"] = statistics.fmean(row["train_seconds"] for row in group)
    mean["sample_seconds"] = statistics.fmean(row["sample_seconds"] for row in group)
    return mean


def by_seed(rows: Sequence[ScoreRow], noise: str) -> dict[str, float]:
    """Seed to score of a noise. The rows are those of one sampler."""
    return {row["seeds"]: row["value"] for row in rows if row["noise"] == noise}


def comparable(column: Sequence[ScoreRow]) -> bool:
    """Whether the rows of one sampler have the same metric, number of images and extractor."""
    return len({(row["metric"], row["num_samples"], row["extractor"]) for row in column}) == 1


def columns_of(rows: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """The rows by sampler."""
    samplers = dict.fromkeys(row["sampler"] for row in rows)
    return {sampler: [row for row in rows if row["sampler"] == sampler] for sampler in samplers}
