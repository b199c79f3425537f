"""The study's means over seeds and their spread."""

import math

import pytest

from ngldm.data.results.study import StudyRow
from ngldm.pipeline.experiments.summary import summarise, summarise_further


def row(variant: str, train_seed: int, sample_seed: int, value: float) -> StudyRow:
    return StudyRow(
        variant=variant,
        train_seed=train_seed,
        sampler="s",
        sample_seed=sample_seed,
        noise=variant.split("_")[0],
        forward="marginal",
        objective="x0",
        network_calls=10,
        value=value,
        outliers=0.5,
        further={},
    )


def test_the_standard_error_comes_from_the_trainings() -> None:
    """Trainings' means 1 and 3: standard deviation sqrt(2), over sqrt(2); not from six draws as if independent."""
    rows = [row("laplace_a", t, s, 1.0 + 2.0 * t) for t in range(2) for s in range(3)]
    rows += [row("gaussian_a", 0, s, 4.0) for s in range(3)] + [row("gaussian_b", 0, 0, 5.0)]
    laplace, gaussian, other = summarise(rows)
    assert (laplace["mean"], laplace["seeds"], laplace["ratio"]) == (2.0, "2x3", 0.5)
    assert laplace["std_error"] == pytest.approx(1.0)
    assert laplace["std"] == pytest.approx(math.sqrt(6 / 5))
    assert math.isnan(gaussian["std_error"])
    assert other["ratio"] == 1.25


def test_without_a_gaussian_there_is_no_ratio() -> None:
    (only,) = summarise([row("laplace_a", 0, 0, 2.0)])
    assert only["mean"] == 2.0
    assert math.isnan(only["ratio"])


def test_the_best_sampler_of_a_variant_comes_first_and_variants_keep_their_order() -> None:
    rows = [row("laplace_a", 0, 0, 5.0), row("gaussian_a", 0, 0, 3.0), row("gaussian_a", 0, 0, 4.0)]
    rows[2]["sampler"] = "t"
    rows.append(StudyRow(**{**rows[0], "sampler": "t", "value": 4.5}))
    order = [(found["variant"], found["sampler"]) for found in summarise(rows)]
    assert order == [("laplace_a", "t"), ("laplace_a", "s"), ("gaussian_a", "s"), ("gaussian_a", "t")]


def test_variants_are_compared_with_the_gaussian_on_the_same_data_set() -> None:
    rows = [row("gaussian", 0, 0, value) for value in (2.0, 10.0)] + [
        row("laplace", 0, 0, value) for value in (3.0, 5.0)
    ]
    for found, label in zip(rows, ("d_gaussian", "d_e_gaussian", "d_laplace", "d_e_laplace"), strict=True):
        found["variant"] = label
    ratios = {found["variant"]: found["ratio"] for found in summarise(rows, ["d", "d_e"])}
    assert ratios == {"d_gaussian": 1.0, "d_e_gaussian": 1.0, "d_laplace": 1.5, "d_e_laplace": 0.5}


def test_a_set_that_is_not_finite_is_no_best_and_hides_no_other() -> None:
    rows = [row("gaussian_a", 0, 0, math.nan), row("gaussian_b", 0, 0, 4.0), row("laplace_a", 0, 0, 2.0)]
    rows.append(StudyRow(**{**rows[2], "sampler": "broken", "value": math.nan}))
    broken, _, laplace, last = summarise(rows)
    assert math.isnan(broken["mean"])
    assert (laplace["ratio"], laplace["sampler"], last["sampler"]) == (0.5, "s", "broken")


def test_further_scores_have_their_error_from_the_trainings_that_have_them() -> None:
    """Trainings' means 1 and 3, as above; the third training has diverged."""
    rows = [StudyRow(**{**row("a", t, s, 0.0), "further": {"m": 1.0 + 2.0 * t}}) for t in range(2) for s in range(3)]
    rows.append(row("a", 2, 0, math.nan))
    (found,) = summarise_further(rows)
    assert (found["score"], found["mean"], found["trainings"]) == ("m", 2.0, 2)
    assert found["std_error"] == pytest.approx(1.0)
