"""Noise made from noise, against scipy.stats: moments, density, quantiles, draws."""

import math
from collections.abc import Callable

import pytest
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.noise import make_noise

EXPONENTIAL, LAPLACE = {"distribution": "exponential"}, {"distribution": "laplace"}
# name, parameters, scipy's distribution before standardising
LAWS = [
    ("mirrored", {"base": EXPONENTIAL}, stats.laplace()),
    ("mirrored", {"base": {"distribution": "gamma", "concentration": 3.0}}, stats.dgamma(3)),
    ("mirrored", {"base": LAPLACE}, stats.laplace()),
    ("mirrored", {"base": {"distribution": "uniform"}}, stats.uniform(-1, 2)),
    ("mirrored", {"base": {"distribution": "exponential_uncentred"}}, stats.laplace()),
    ("averaged", {"base": EXPONENTIAL, "n": 4}, stats.gamma(4)),
    ("truncated", {"base": {"distribution": "gaussian"}, "bound": 1.5}, stats.truncnorm(-1.5, 1.5)),
    ("truncated", {"base": EXPONENTIAL, "bound": 2.0}, stats.truncexpon(3.0)),
]
IDS = [f"{name}-{params}" for name, params, _ in LAWS]


@pytest.mark.parametrize(("name", "params", "law"), LAWS, ids=IDS)
def test_it_is_scipys(name: str, params: dict, law: stats.rv_continuous, same_as_scipy: Callable[..., None]) -> None:
    same_as_scipy(name, params, law)


def test_mixture_has_the_mixed_moments() -> None:
    noise = make_noise("mixture", {"first": EXPONENTIAL, "second": LAPLACE, "weight": 0.25})
    assert (noise.skewness, noise.excess_kurtosis) == pytest.approx((0.25 * 2, 0.25 * 9 + 0.75 * 6 - 3))


def test_averaging_is_a_dial_to_the_gaussian() -> None:
    for n in (1, 4, 100):
        noise = make_noise("averaged", {"base": EXPONENTIAL, "n": n})
        assert (noise.skewness, noise.excess_kurtosis) == pytest.approx((2 / math.sqrt(n), 6 / n))


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("averaged", {"n": 0}, "n: 0 must be a whole number"),
        ("mirrored", {"base": {"distribution": "cauchy"}}, "base: noise 'cauchy': its mean does not exist"),
        ("mirrored", {"base": "laplace"}, "base: 'laplace' must be a mapping with `distribution`"),
        ("truncated", {"bound": 1e-9}, "bound: 1e-09 keeps .* at least 1 %"),
        ("truncated", {"base": {"distribution": "student_t"}}, "'student_t' has no icdf"),
        ("mixture", {"weight": 1.5}, "weight: 1.5 must be strictly between 0 and 1"),
    ],
)
def test_bad_parameters_are_named_with_what_is_allowed(name: str, params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_noise(name, params)
