"""Noises at the edges of their parameters and of their support, in every precision."""

import math
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from ngldm.io.errors import InputError
from ngldm.noise import Base, make_noise, register
from ngldm.noise.registry import Entry

SIZE = 2**15
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
KOLMOGOROV = 3 / math.sqrt(SIZE)  # of which one in ten million is beyond


def draws(name: str, params: dict[str, Any], dtype: torch.dtype = torch.float64, size: int = SIZE) -> torch.Tensor:
    return make_noise(name, params).sample((size,), torch.Generator().manual_seed(1), dtype=dtype)


def base(name: str, **params: Any) -> dict[str, Any]:
    return {"distribution": name, **params}


# Parameters of every family that has some, over many orders of magnitude
FAMILIES = {
    "generalized_normal": {"beta": (0.051, 999.0)},
    "gamma": {"concentration": (1e-6, 1e8)},
    "weibull": {"k": (0.11, 99.0)},
    "lognormal": {"sigma": (2e-6, 4.9)},
    "beta": {"a": (1e-4, 1e6), "b": (1e-4, 1e6)},
    "student_t": {"df": (2.01, 1e12)},
    "skew_normal": {"alpha": (1e-6, 9e5)},
    "bernoulli": {"p": (1e-9, 0.999)},
    "binomial": {"p": (1e-9, 0.999), "n": (1, 10**8)},
    "poisson": {"rate": (1e-9, 1e8)},
}
FIXED = ("gaussian", "laplace", "exponential", "uniform", "gumbel", "logistic", "triangular", "arcsine")
BOUNDED = [
    ("mirrored", {"base": base("gamma", concentration=3.0)}),
    ("mirrored", {"base": base("beta", a=0.5, b=0.5)}),
    ("mixture", {"first": base("arcsine"), "second": base("exponential")}),
    ("mixture", {"first": base("uniform"), "second": base("exponential_uncentred")}),
    ("truncated", {"base": base("arcsine"), "bound": 1.2}),
    ("truncated", {"base": base("weibull", k=0.5), "bound": 3.0}),
]


@st.composite
def noises(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from([*FAMILIES, *FIXED]))
    params = {}
    for key, (low, high) in FAMILIES.get(name, {}).items():
        value = math.exp(draw(st.floats(math.log(low), math.log(high))))
        params[key] = round(value) if key == "n" else value
    return name, params


def check_finite(name: str, params: dict[str, Any]) -> None:
    noise = make_noise(name, params)
    for dtype in DTYPES:
        x = draws(name, params, dtype, 4000)
        assert x.isfinite().all()
        if noise.base.function("log_prob"):
            assert noise.log_prob(x).isfinite().all(), dtype
            assert noise.log_prob(x).dtype == dtype
            assert noise.base.discrete or not noise.score(x).isnan().any(), dtype


@settings(max_examples=200, deadline=None, derandomize=True)
@given(noises())
def test_every_draw_has_a_density_in_every_precision(noise: tuple[str, dict[str, Any]]) -> None:
    check_finite(*noise)


@pytest.mark.parametrize(("name", "params"), BOUNDED)
def test_draws_of_combined_noises_have_a_density_in_every_precision(name: str, params: dict[str, Any]) -> None:
    check_finite(name, params)


class Gennorm:
    """scipy's gennorm, whose cdf loses |x|^beta below 1e-308: there P(a, z) is z^a / Gamma(a + 1)."""

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def cdf(self, x: np.ndarray) -> np.ndarray:
        a, z = 1.0 / self.beta, np.abs(x) ** self.beta
        inside = np.where(z < 1e-250, np.abs(x) / special.gamma(a + 1.0), special.gammainc(a, z))
        return 0.5 + 0.5 * np.sign(x) * inside


LAWS = [
    *(("generalized_normal", {"beta": b}, Gennorm(b)) for b in (0.1, 20.0, 100.0, 500.0, 900.0, 999.0)),
    *(("beta", {"a": a, "b": b}, stats.beta(a, b)) for a, b in ((0.3, 0.3), (0.3, 40.0), (1e6, 1e6))),
    *(("gamma", {"concentration": k}, stats.gamma(k)) for k in (0.3, 100.0, 1e8)),
    *(("weibull", {"k": k}, stats.weibull_min(k)) for k in (0.3, 50.0, 99.0)),
    *(("student_t", {"df": df}, stats.t(df)) for df in (2.1, 4.7, 1e6)),
    *(("lognormal", {"sigma": s}, stats.lognorm(s)) for s in (1e-5, 3.0)),
    *(("skew_normal", {"alpha": a}, stats.skewnorm(a)) for a in (1e-3, -1e5, 1e5)),
]


@pytest.mark.parametrize(("name", "params", "law"), LAWS)
def test_draws_at_the_edges_are_scipys(name: str, params: dict[str, Any], law: Any) -> None:
    x, noise = draws(name, params).numpy(), make_noise(name, params)
    assert len(np.unique(x)) > 0.95 * SIZE  # none is drawn again and again
    assert stats.kstest(x / noise.scale + noise.shift, law.cdf).statistic < KOLMOGOROV


@pytest.mark.parametrize(("a", "b"), [(0.005, 0.005), (0.01, 5.0), (1e-10, 1e-10)])
def test_beta_of_small_parameters_lies_at_its_ends(a: float, b: float) -> None:
    """Shares near the ends by scipy; float64 cannot tell the numbers nearest to them apart, and none is in between."""
    noise, x = make_noise("beta", {"a": a, "b": b}), draws("beta", {"a": a, "b": b})
    for cut in (1e-3, 0.5, 0.999):
        below = float((x / noise.scale + noise.shift < cut).double().mean())
        assert below == pytest.approx(stats.beta(a, b).cdf(cut), abs=KOLMOGOROV)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 1.5, 2.0, 8.0, 900.0])
def test_the_score_of_generalized_normal_is_its_formula_and_0_at_0(beta: float) -> None:
    noise = make_noise("generalized_normal", {"beta": beta})
    raw = np.array([-1.001, -0.5, -1e-3, 1e-3, 0.7, 1.0])
    expected = -beta * np.abs(raw) ** (beta - 1.0) * np.sign(raw) / noise.scale
    ours = noise.score(torch.from_numpy(raw * noise.scale)).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
    assert noise.score(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("alpha", [4.0, 1e3, 1e5, -1e5])
def test_the_score_of_skew_normal_is_mpmaths(alpha: float) -> None:
    """-x + alpha phi(alpha x) / Phi(alpha x), with 60 digits, at points on both sides of 0."""
    noise = make_noise("skew_normal", {"alpha": alpha})
    points = [side * at / abs(alpha) for side in (-1.0, 1.0) for at in (0.01, 1.0, 5.0, 30.0, 300.0)] + [-0.1, 0.5]
    x = (torch.tensor(points, dtype=torch.float64) - noise.shift) * noise.scale
    with mpmath.workdps(60):
        for ours, log_density, at in zip(noise.score(x).tolist(), noise.log_prob(x).tolist(), x.tolist(), strict=True):
            raw = mpmath.mpf(at) / noise.scale + mpmath.mpf(noise.shift)
            below = mpmath.erfc(-alpha * raw / mpmath.sqrt(2)) / 2
            score = -raw + alpha * mpmath.npdf(alpha * raw) / below
            # Standardising moves x by a rounding error, which alpha^2 magnifies
            assert ours == pytest.approx(float(score / noise.scale), rel=1e-9, abs=1e-15 * alpha**2 + 1e-12)
            density = mpmath.log(2 * mpmath.npdf(raw) * below) - mpmath.log(noise.scale)
            assert log_density == pytest.approx(float(density), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("df", [900.0, 1100.0, 1e6, 1e12, 1e15])
def test_student_t_of_many_degrees_keeps_its_density(df: float) -> None:
    noise, at = make_noise("student_t", {"df": df}), np.array([0.0, 1.0, -4.0])
    with mpmath.workdps(60):
        n = mpmath.mpf(df)
        constant = mpmath.loggamma((n + 1) / 2) - mpmath.loggamma(n / 2) - mpmath.log(mpmath.pi * n) / 2
        expected = [float(constant - (n + 1) / 2 * mpmath.log1p(mpmath.mpf(x) ** 2 / n)) for x in at]
    ours = noise.log_prob(torch.from_numpy(at * noise.scale)).numpy() + math.log(noise.scale)
    np.testing.assert_allclose(ours, expected, atol=1e-11)


@pytest.mark.parametrize("sigma", [1e-5, 1e-3, 0.1])
def test_lognormal_keeps_the_digits_of_its_moments(sigma: float) -> None:
    noise = make_noise("lognormal", {"sigma": sigma})
    with mpmath.workdps(60):
        w = mpmath.exp(mpmath.mpf(sigma) ** 2)
        assert noise.skewness == pytest.approx(float((w + 2) * mpmath.sqrt(w - 1)), rel=1e-12)
        assert noise.excess_kurtosis == pytest.approx(float(w**4 + 2 * w**3 + 3 * w**2 - 6), rel=1e-12)
        assert 1 / noise.scale**2 == pytest.approx(float((w - 1) * w), rel=1e-12)


TRUNCATED = [
    *(("laplace", {}, stats.laplace(0.0, 0.5**0.5), bound) for bound in (0.1, 2.0, 9.0, 12.0, 20.0, 1000.0)),
    *(("exponential", {}, stats.expon(-1.0), bound) for bound in (0.5, 3.0, 20.0, 100.0)),
    *(("lognormal", {"sigma": 1.0}, stats.lognorm(1.0), bound) for bound in (0.7, 30.0, 300.0)),
    *(("arcsine", {}, stats.arcsine(-(2**0.5), 8**0.5), bound) for bound in (0.5, 1.3)),
    ("uniform", {}, stats.uniform(-(3**0.5), 12**0.5), 5.0),
]


@pytest.mark.parametrize(("name", "params", "law", "bound"), TRUNCATED)
def test_the_moments_of_a_truncated_noise_are_those_of_quadrature(
    name: str, params: dict[str, Any], law: Any, bound: float
) -> None:
    mean, std = (0.0, 1.0) if name != "lognormal" else (law.mean(), law.std())
    low, high = max(law.ppf(0.0), mean - bound * std), min(law.ppf(1.0 - 1e-15), mean + bound * std)
    marks = sorted({low, high, *(x for x in law.ppf([1e-9, 1e-3, 0.5, 0.999, 1 - 1e-6, 1 - 1e-9]) if low < x < high)})

    def integral(power: int, about: float = 0.0) -> float:
        return sum(
            integrate.quad(lambda x: (x - about) ** power * law.pdf(x), a, b, limit=200)[0] for a, b in pairwise(marks)
        )

    mass = law.cdf(high) - law.cdf(low)
    centre = integral(1) / mass
    second, third, fourth = (integral(power, centre) / mass for power in (2, 3, 4))
    noise = make_noise("truncated", {"base": base(name, **params), "bound": bound})
    assert noise.shift == pytest.approx((centre - mean) / std, abs=1e-6)
    assert noise.scale == pytest.approx(std / second**0.5, rel=1e-6)
    assert noise.skewness == pytest.approx(third / second**1.5, rel=1e-4, abs=1e-5)
    assert noise.excess_kurtosis == pytest.approx(fourth / second**2 - 3.0, rel=1e-4, abs=1e-5)


def test_a_truncated_noise_reaches_its_bound_and_not_beyond() -> None:
    """Uniform numbers near their ends: Laplace's own quantiles up to a bound that is beyond the 2^-20 quantile."""
    for bound in (12.0, 20.0, 1000.0):
        noise = make_noise("truncated", {"base": base("laplace"), "bound": bound})
        u = torch.tensor([2.0**-40, 2.0**-30, 2.0**-21], dtype=torch.float64)
        low = stats.laplace(0.0, 0.5**0.5).cdf(-bound)
        expected = stats.laplace(0.0, 0.5**0.5).ppf(low + (1.0 - 2.0 * low) * u.numpy())
        np.testing.assert_allclose(noise.icdf(u).numpy() / noise.scale + noise.shift, expected, rtol=1e-6)
    x = draws("truncated", {"base": base("laplace"), "bound": 0.5})
    noise = make_noise("truncated", {"base": base("laplace"), "bound": 0.5})
    assert (x / noise.scale).abs().max() <= 0.5


def test_moments_that_do_not_exist_spoil_no_others() -> None:
    """The third moment of student_t(2.5) does not exist; by symmetry the fourth has no term of it, and is infinite."""
    heavy = base("student_t", df=2.5)
    assert make_noise("mirrored", {"base": heavy}).excess_kurtosis == math.inf
    assert make_noise("mixture", {"first": heavy, "second": base("uniform")}).excess_kurtosis == math.inf


def test_a_far_mean_costs_a_mixture_no_digits() -> None:
    params = {"weights": [0.5, 0.5], "means": [1e12, 1e12], "stds": [1e-5, 1e-5]}
    assert stats.kstest(draws("gaussian_mixture", params).numpy(), stats.norm.cdf).statistic < KOLMOGOROV


@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_are_found_in_every_precision(dtype: torch.dtype) -> None:
    """The log probability of a draw, by scipy at the count that it stands for."""
    noise = make_noise("binomial", {"n": 200, "p": 0.3})
    x = draws("binomial", {"n": 200, "p": 0.3}, dtype, 500)
    counts = draws("binomial", {"n": 200, "p": 0.3}, size=500) / noise.scale + noise.shift
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 0.2}[dtype]
    expected = stats.binom(200, 0.3).logpmf(counts.round().numpy())
    np.testing.assert_allclose(noise.log_prob(x).double().numpy(), expected, atol=tolerance)


def wrong(declared: dict[str, float], draw: Any = torch.randn) -> Base:
    moments = {"mean": 0.0, "variance": 1.0, "skewness": 0.0, "excess_kurtosis": 0.0, **declared}
    return Base(**moments, draw=lambda shape, generator, device: draw(tuple(shape), generator=generator))


@pytest.mark.parametrize(
    ("declared", "draw", "words"),
    [
        ({}, lambda shape, generator: torch.randn(shape, generator=generator) / 0.0, "draws are not finite"),
        ({}, lambda shape, generator: torch.full(shape, math.nan), "16384 of 16384 draws are not finite"),
        ({"skewness": 2.0}, torch.randn, r"at least skewness\^2 - 2"),
        ({"mean": 0.5}, torch.randn, "have mean"),
        ({"excess_kurtosis": 3.0}, torch.randn, "have excess_kurtosis"),
        (
            {"excess_kurtosis": -1.9, "variance": 0.96},
            lambda shape, generator: torch.randn(shape, generator=generator),
            "have excess_kurtosis",
        ),
    ],
)
def test_the_reason_is_the_cause(declared: dict, draw: Any, words: str, registry: dict[str, Entry]) -> None:
    register("edge_of_test")(lambda: wrong(declared, draw))
    with pytest.raises(InputError, match=words):
        make_noise("edge_of_test")


def test_moments_beyond_float64_are_named(registry: dict[str, Entry]) -> None:
    register("edge_of_test")(lambda: Base(mean=0.0, variance=1.0, skewness=1.0 / math.fsum([]), draw=None))
    with pytest.raises(InputError, match="leave the range of float64"):
        make_noise("edge_of_test")
