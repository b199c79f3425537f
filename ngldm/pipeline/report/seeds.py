"""Scores of several trainings of each noise: means, standard errors, and differences with their confidence intervals.

A training's score holds the chance of its training seed and of its sampling seed, since each has its own. The trainings
of a noise are independent, so the standard error of their mean holds both. All noises have the same seeds. So two
noises are compared seed by seed (paired t test): what a seed does to both of them drops out.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from ngldm.pipeline.report.rows import ScoreRow, average, by_seed, columns_of, comparable, several, std_error

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean difference of two noises, and half the width of its confidence interval.

    Attributes:
        mean: of the differences seed by seed.
        margin: the interval is mean - margin to mean + margin.
    """

    mean: float
    margin: float

    @property
    def word(self) -> str:
        """What the interval shows: lower or higher if it has only such values, else tie."""
        if abs(self.mean) <= self.margin:
            return "tie"
        return "lower" if self.mean < 0 else "higher"


class Mean(NamedTuple):
    """A mean over so many trainings, and its standard error."""

    value: float
    std_error: float
    trainings: int


class DifferenceRow(TypedDict):
    """How a noise differs from the Gaussian with the same sampler, a row of reports/differences.csv.

    Attributes:
        noise, sampler: their labels.
        baseline: label of the Gaussian noise.
        difference: mean of the Frechet distance minus that of the Gaussian.
        low, high: ends of the 95 % confidence interval of `difference`.
        shown: lower, higher or tie (`Difference.word`).
    """

    noise: str
    sampler: str
    baseline: str
    difference: float
    low: float
    high: float
    shown: str


DIFFERENCE_COLUMNS = tuple(DifferenceRow.__annotations__)


def paired(values: Mapping[str, float], others: Mapping[str, float]) -> Difference:
    """The mean difference `values` - `others` with its confidence interval, from Student's t with n - 1 degrees.

    Args:
        values, others: seed to score, both with the same seeds, at least two.
    """
    from scipy.stats import t

    differences = [value - others[seed] for seed, value in values.items()]
    quantile = float(t.ppf(0.5 + CONFIDENCE / 2, len(differences) - 1))
    return Difference(statistics.fmean(differences), quantile * std_error(differences))


def unpaired(mean: Mean, other: Mean) -> Difference:
    """The difference `mean` - `other` of trainings that share no seeds, with Welch's confidence interval.

    Each mean is over at least two trainings. The degrees of freedom are those of Welch and Satterthwaite.
    """
    from scipy.stats import t

    error = math.hypot(mean.std_error, other.std_error)
    parts = sum(one.std_error**4 / (one.trainings - 1) for one in (mean, other))
    degrees = error**4 / parts if parts > 0 else math.inf
    return Difference(mean.value - other.value, float(t.ppf(0.5 + CONFIDENCE / 2, degrees)) * error)


def differences(rows: Sequence[ScoreRow], baseline: str | None) -> list[DifferenceRow]:
    """How each noise differs from the Gaussian. Nothing without several trainings, or without a Gaussian noise.

    Args:
        rows: one per training and sampler.
        baseline: label of the Gaussian noise.
    """
    found: list[DifferenceRow] = []
    if baseline is None or not several(rows):
        return found
    for sampler, column in columns_of(rows).items():
        for noise in dict.fromkeys(row["noise"] for row in column if comparable(column)):
            if noise != baseline:
                made = paired(by_seed(column, noise), by_seed(column, baseline))
                low, high = made.mean - made.margin, made.mean + made.margin
                row = DifferenceRow(
                    noise=noise,
                    sampler=sampler,
                    baseline=baseline,
                    difference=made.mean,
                    low=low,
                    high=high,
                    shown=made.word,
                )
                found.append(row)
    return found


def tied_for_best(column: Sequence[ScoreRow]) -> list[str]:
    """The noise with the lowest mean, and those whose difference to it is a tie; lowest first.

    Args:
        column: the rows of one sampler, with several trainings of each noise.
    """
    order = [row["noise"] for row in sorted(average(column), key=lambda row: row["value"])]
    best = by_seed(column, order[0])
    return [order[0], *(noise for noise in order[1:] if paired(by_seed(column, noise), best).word == "tie")]


def seed_scores(rows: Sequence[ScoreRow], baseline: str | None) -> dict[str, object]:
    """The figures of several trainings for `dvc exp show`: standard errors, and differences to the Gaussian.

    Each is a mapping noise to sampler to number, as the scores themselves. Nothing for one training of each noise.
    """
    if not several(rows):
        return {}
    errors: dict[str, dict[str, float]] = {}
    for row in average(rows):
        errors.setdefault(row["noise"], {})[row["sampler"]] = row["spread"]
    means: dict[str, dict[str, float]] = {}
    margins: dict[str, dict[str, float]] = {}
    for found in differences(rows, baseline):
        means.setdefault(found["noise"], {})[found["sampler"]] = found["difference"]
        margins.setdefault(found["noise"], {})[found["sampler"]] = (found["high"] - found["low"]) / 2
    metric = rows[0]["metric"]
    further = {f"{metric}_minus_gaussian": means, f"{metric}_minus_gaussian_ci95": margins} if means else {}
    return {f"{metric}_std_error": errors, **further}


def difference_lines(found: Sequence[DifferenceRow]) -> list[str]:
    """A line for each difference to the Gaussian: the mean, the margin of its interval, and what it shows."""
    return [f"{row['noise']} minus {row['baseline']}, {row['sampler']}: {describe_difference(row)}" for row in found]


def describe_difference(row: DifferenceRow) -> str:
    """The difference, the margin of its confidence interval, and what it shows, in words."""
    return f"{row['difference']:+.3g} ± {(row['high'] - row['low']) / 2:.2g}, {row['shown']}"
