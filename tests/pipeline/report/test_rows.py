"""Rows of scores by noise and sampler: the means over trainings, and their standard error against scipy."""

import numpy as np
import pytest
from scipy.stats import sem

from ngldm.pipeline.report.rows import COLUMNS, average, by_seed, several, std_error

VALUES = {"0": 2.0, "1": 3.5, "2": 2.75}


def rows(values: dict[str, float], noise: str = "laplace", sampler: str = "auto") -> list[dict]:
    """Rows of one noise and sampler: seed to score. All other figures are the score times ten."""
    base = {**dict.fromkeys(COLUMNS, "x"), "noise": noise, "sampler": sampler, "spread": 0.1}
    figures = ("kid", "precision", "recall", "train_seconds", "sample_seconds")
    return [{**base, **dict.fromkeys(figures, 10 * v), "seeds": s, "value": v} for s, v in values.items()]


def test_the_mean_over_trainings_has_scipys_standard_error() -> None:
    (mean,) = average(rows(VALUES))
    assert mean["value"] == pytest.approx(np.mean(list(VALUES.values())))
    assert mean["spread"] == pytest.approx(sem(list(VALUES.values())))
    for key in ("kid", "precision", "recall", "train_seconds", "sample_seconds"):
        assert mean[key] == pytest.approx(10 * np.mean(list(VALUES.values())))
    assert mean["seeds"] == "0, 1, 2"
    assert list(mean) == list(COLUMNS)


def test_noises_and_samplers_are_not_mixed() -> None:
    mixed = [
        *rows({"0": 1.0, "1": 3.0}),
        *rows({"0": 5.0, "1": 5.0}, "uniform"),
        *rows({"0": 7.0, "1": 9.0}, sampler="b"),
    ]
    found = {(row["noise"], row["sampler"]): (row["value"], row["spread"]) for row in average(mixed)}
    assert found == {("laplace", "auto"): (2.0, 1.0), ("uniform", "auto"): (5.0, 0.0), ("laplace", "b"): (8.0, 1.0)}


def test_one_training_stays_as_it_is() -> None:
    alone = [*rows({"0": 1.0}), *rows({"0": 2.0}, "uniform")]
    assert not several(alone)
    assert average(alone) == alone
    assert several(rows(VALUES))


def test_scores_are_found_by_seed() -> None:
    assert by_seed([*rows(VALUES), *rows({"0": 9.0}, "uniform")], "laplace") == VALUES


def test_the_standard_error_of_two_values_is_half_their_distance() -> None:
    assert std_error([1.0, 4.0]) == pytest.approx(1.5)
