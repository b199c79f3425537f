"""Draws of the synthetic laws have the distributions that scipy has."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from ngldm.data.sources.points.laws import MixtureLaw, positive_stable
from ngldm.io.errors import InputError

COUNT = 20_000
MIN_P = 1e-3  # of a test with a fixed seed


def draws(count=COUNT, **options):
    return MixtureLaw(**options).draw(count, np.random.default_rng(1))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dim", [1, 4])
def test_each_coordinate_is_students_t(dim, shared):
    points, _ = draws(dim=dim, tails="student_t", df=3.0, shared=shared, radius=0.0, scale=0.5)
    for column in points.T:
        assert stats.kstest(column / 0.5, stats.t(3.0).cdf).pvalue > MIN_P


def test_shared_tails_are_the_multivariate_t():
    """|z|^2 / d of d coordinates with one radius has the F distribution of d and df degrees of freedom."""
    points, _ = draws(dim=5, tails="student_t", df=3.0, shared=True, scale=2.0)
    ratio = np.square(points / 2.0).sum(1) / 5
    assert stats.kstest(ratio, stats.f(5, 3).cdf).pvalue > MIN_P


def test_independent_tails_are_independent():
    points, _ = draws(dim=2, tails="student_t", df=3.0, shared=False)
    assert stats.spearmanr(np.abs(points[:, 0]), np.abs(points[:, 1])).pvalue > MIN_P
    together, _ = draws(dim=2, tails="student_t", df=3.0, shared=True)
    assert stats.spearmanr(np.abs(together[:, 0]), np.abs(together[:, 1])).statistic > 0.1


@pytest.mark.parametrize("index", [0.3, 0.75, 0.95])
def test_positive_stable_draws_have_their_laplace_transform(index):
    found = positive_stable(index, (100_000,), np.random.default_rng(0))
    for s in (0.1, 1.0, 5.0):
        values = np.exp(-s * found)
        assert abs(values.mean() - np.exp(-(s**index))) < 5 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("alpha", [1.2, 1.8])
@pytest.mark.parametrize("shared", [True, False])
def test_stable_draws_have_their_characteristic_function(alpha, shared):
    """E cos(u . z) = exp(-|u|^alpha) for isotropic draws; a product over the coordinates for independent ones."""
    points, _ = draws(100_000, dim=2, tails="stable", alpha=alpha, shared=shared, scale=1.0)
    for u in ([0.3, 0.0], [0.5, 0.7]):
        values = np.cos(points @ np.array(u))
        power = np.linalg.norm(u) ** alpha if shared else (np.abs(u) ** alpha).sum()
        assert abs(values.mean() - np.exp(-power)) < 5 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("alpha", [1.5])
def test_stable_draws_are_scipys(alpha):
    points, _ = draws(3000, dim=1, tails="stable", alpha=alpha, scale=1.0)
    assert stats.kstest(points[:, 0], stats.levy_stable(alpha, 0.0).cdf).pvalue > MIN_P


def test_modes_have_their_weights_and_centres():
    law = MixtureLaw(dim=3, tails="gaussian", weights=[6.0, 3.0, 1.0], radius=4.0, scale=0.5)
    points, modes = law.draw(COUNT, np.random.default_rng(0))
    assert stats.chisquare(np.bincount(modes), COUNT * np.array([0.6, 0.3, 0.1])).pvalue > MIN_P
    for mode, centre in enumerate(law.centres):
        inside = points[modes == mode]
        np.testing.assert_allclose(inside.mean(0), centre, atol=5 * 0.5 / np.sqrt(len(inside)))
        assert stats.kstest((inside[:, 2] - centre[2]) / 0.5, "norm").pvalue > MIN_P


def test_centres_are_evenly_spaced():
    centres = MixtureLaw(dim=4, tails="gaussian", weights=[1.0] * 5, radius=2.0).centres
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 2.0)
    gaps = [np.linalg.norm(a - b) for a, b in pairwise([*centres, centres[0]])]
    np.testing.assert_allclose(gaps, 4.0 * np.sin(np.pi / 5))  # the side of a regular pentagon
    np.testing.assert_array_equal(
        MixtureLaw(dim=1, tails="gaussian", weights=[1, 1, 1], radius=2.0).centres, [[-2], [0], [2]]
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dim": 0, "tails": "gaussian"}, "dataset.law.dim: 0"),
        ({"dim": 2, "tails": "gaussian", "weights": [1e308, 1e308]}, "dataset.law.weights: .*with a finite sum"),
        ({"dim": 2, "tails": "gaussian", "weights": ["1"]}, r"dataset.law.weights\[0\]: '1' is not a number"),
        ({"dim": 2, "tails": "gaussian", "scale": True}, "dataset.law.scale: True is not a number"),
        ({"dim": 2, "tails": "cauchy"}, "dataset.law.tails 'cauchy'"),
        ({"dim": 2, "tails": "student_t"}, "dataset.law.df: None"),
        ({"dim": 2, "tails": "student_t", "df": 0.0}, "dataset.law.df: 0.0"),
        ({"dim": 2, "tails": "gaussian", "df": 3.0}, "dataset.law.df: not an option"),
        ({"dim": 2, "tails": "stable", "alpha": 2.0}, "dataset.law.alpha: 2.0"),
        ({"dim": 2, "tails": "gaussian", "weights": [1.0, 0.0]}, "dataset.law.weights"),
        ({"dim": 2, "tails": "gaussian", "scale": 0.0}, "scale 0.0"),
    ],
)
def test_bad_laws_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        MixtureLaw(**options)
