"""What the tests of several modules of noise share."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

import ngldm.io.registry
import ngldm.noise.registry
from ngldm.noise import make_noise
from ngldm.noise.registry import REGISTRY, Entry

SIZE = 2**15


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Entry]:
    """A copy of the registry, thrown away after the test, with no entry points around it."""
    copy = dict(REGISTRY)
    monkeypatch.setattr(ngldm.noise.registry, "REGISTRY", copy)
    monkeypatch.setattr(ngldm.io.registry, "entry_points", lambda group: [])
    return copy


def same_moments(name: str, params: dict, law: stats.rv_continuous) -> None:
    """Skewness and kurtosis are the same before and after standardising."""
    noise = make_noise(name, params)
    skewness, kurtosis = (float(value) for value in law.stats("sk"))
    tolerance = 2e-3 if name == "truncated" else 1e-9  # quadrature
    assert (noise.mean, noise.variance) == pytest.approx((0.0, 1.0), abs=1e-9)
    assert noise.skewness == pytest.approx(skewness, rel=tolerance, abs=tolerance)
    assert noise.excess_kurtosis == pytest.approx(kurtosis, rel=tolerance, abs=tolerance)


def same_draws(name: str, params: dict, law: stats.rv_continuous) -> None:
    """Kolmogorov's bound at one in ten million, 3 / sqrt(n); for a discrete law it is conservative."""
    generator = torch.Generator().manual_seed(1)
    x = make_noise(name, params).sample((SIZE,), generator, dtype=torch.float64).numpy() * law.std() + law.mean()
    if isinstance(law.dist, stats.rv_discrete):
        values = np.unique(np.round(x))
        assert np.abs(x - np.round(x)).max() < 1e-6
        empirical = np.array([(np.round(x) <= v).mean() for v in values])
        assert np.abs(empirical - law.cdf(values)).max() < 3 / math.sqrt(SIZE)
    else:
        assert stats.kstest(x, law.cdf).statistic < 3 / math.sqrt(SIZE)


def same_functions(name: str, params: dict, law: stats.rv_continuous) -> None:
    """`log_prob` and `icdf`, where they exist."""
    noise, mean, std = make_noise(name, params), float(law.mean()), float(law.std())
    u = np.linspace(0.01, 0.99, 36)
    raw = np.unique(law.ppf(u))
    tolerance = 1e-4 if name == "truncated" else 1e-6
    if noise.base.function("log_prob"):
        theirs = law.logpmf(raw) if noise.base.discrete else law.logpdf(raw) + math.log(std)
        ours = noise.log_prob(torch.from_numpy((raw - mean) / std))
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance)
    if noise.base.function("icdf"):
        np.testing.assert_allclose(noise.icdf(torch.from_numpy(u)).numpy(), (law.ppf(u) - mean) / std, atol=tolerance)


@pytest.fixture(params=[same_moments, same_draws, same_functions], ids=lambda check: check.__name__)
def same_as_scipy(request: pytest.FixtureRequest) -> Callable[[str, dict, stats.rv_continuous], None]:
    """Compares a noise with scipy's distribution before standardising: moments, draws, density and quantiles."""
    return request.param
