"""The distributions on an interval: moments, density, quantiles and draws, against scipy.stats."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats

from ngldm.noise import make_noise

LAWS = [
    ("triangular", {}, stats.triang(0.5)),
    ("arcsine", {}, stats.arcsine()),
    ("beta", {"a": 2.0, "b": 5.0}, stats.beta(2, 5)),
    ("beta", {"a": 0.7, "b": 1.5}, stats.beta(0.7, 1.5)),
]


@pytest.mark.parametrize(("name", "params", "law"), LAWS, ids=[f"{name}-{params}" for name, params, _ in LAWS])
def test_it_is_scipys(name: str, params: dict, law: stats.rv_continuous, same_as_scipy: Callable[..., None]) -> None:
    same_as_scipy(name, params, law)


@pytest.mark.parametrize(("name", "params", "law"), LAWS, ids=[f"{name}-{params}" for name, params, _ in LAWS])
def test_no_draw_leaves_the_interval(name: str, params: dict, law: stats.rv_continuous) -> None:
    low, high = ((end - law.mean()) / law.std() for end in law.support())
    x = make_noise(name, params).sample((2**16,), torch.Generator().manual_seed(0), dtype=torch.float64)
    assert low <= float(x.min()) < 0.9 * low
    assert 0.4 * high < float(x.max()) <= high
    assert math.isclose(float(x.var()), 1.0, rel_tol=0.05)
