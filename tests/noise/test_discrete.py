"""The discrete distributions, against scipy.stats: moments, probabilities, draws."""

from collections.abc import Callable

import pytest
import torch
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.noise import make_noise

# name, parameters, scipy's distribution before standardising
LAWS = [
    ("bernoulli", {"p": 0.5}, stats.bernoulli(0.5)),
    ("bernoulli", {"p": 0.2}, stats.bernoulli(0.2)),
    ("binomial", {"n": 4, "p": 0.5}, stats.binom(4, 0.5)),
    ("binomial", {"n": 9, "p": 0.2}, stats.binom(9, 0.2)),
    ("poisson", {"rate": 4.0}, stats.poisson(4)),
]
IDS = [f"{name}-{params}" for name, params, _ in LAWS]


@pytest.mark.parametrize(("name", "params", "law"), LAWS, ids=IDS)
def test_it_is_scipys(name: str, params: dict, law: stats.rv_continuous, same_as_scipy: Callable[..., None]) -> None:
    same_as_scipy(name, params, law)


@pytest.mark.parametrize("name", ["bernoulli", "binomial", "poisson"])
def test_there_is_no_score(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' is discrete"):
        make_noise(name).score(torch.zeros(1))


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("bernoulli", {"p": 1.0}, "p: 1.0 must be strictly between 1e-100 and 1"),
        ("binomial", {"n": 2.5}, "n: 2.5 must be a whole number"),
        ("poisson", {"rate": True}, "rate: True is not a finite number"),
    ],
)
def test_bad_parameters_are_named_with_what_is_allowed(name: str, params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_noise(name, params)
