"""The Stein kernel of every density: against its definition, and the Stein identity, both by scipy's quadrature."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from ngldm.io.errors import InputError
from ngldm.noise import make_noise

ROOT_3 = math.sqrt(3.0)
# name, parameters, scipy's distribution at any location and scale
LAWS = [
    ("gaussian", {}, stats.norm()),
    ("laplace", {}, stats.laplace()),
    ("exponential", {}, stats.expon()),
    ("uniform", {}, stats.uniform()),
    ("gumbel", {}, stats.gumbel_r()),
    ("logistic", {}, stats.logistic()),
    ("student_t", {"df": 5.0}, stats.t(5)),
    ("student_t", {"df": 2.5}, stats.t(2.5)),
    ("generalized_normal", {"beta": 1.5}, stats.gennorm(1.5)),
    ("generalized_normal", {"beta": 0.5}, stats.gennorm(0.5)),
    ("gamma", {"concentration": 2.0}, stats.gamma(2)),
    ("gamma", {"concentration": 0.5}, stats.gamma(0.5)),
    ("weibull", {"k": 2.0}, stats.weibull_min(2)),
    ("weibull", {"k": 0.7}, stats.weibull_min(0.7)),
    ("lognormal", {"sigma": 0.5}, stats.lognorm(0.5)),
    ("lognormal", {"sigma": 1.0}, stats.lognorm(1.0)),
    ("triangular", {}, stats.triang(0.5)),
    ("arcsine", {}, stats.arcsine()),
    ("beta", {"a": 2.0, "b": 5.0}, stats.beta(2, 5)),
    ("skew_normal", {"alpha": 4.0}, stats.skewnorm(4)),
    ("skew_normal", {"alpha": -1.5}, stats.skewnorm(-1.5)),
    ("mirrored", {}, stats.laplace()),
]
IDS = [f"{name}-{params}" for name, params, _ in LAWS]
# f and its derivative
TESTS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "identity": (lambda n: n, lambda n: 1.0),
    "sine": (lambda n: math.sin(1.3 * n + 0.4), lambda n: 1.3 * math.cos(1.3 * n + 0.4)),
    "bell": (lambda n: math.exp(-((n - 0.5) ** 2)), lambda n: -2.0 * (n - 0.5) * math.exp(-((n - 0.5) ** 2))),
    "arctangent": (lambda n: math.atan(3.0 * n), lambda n: 3.0 / (1.0 + 9.0 * n * n)),
}


def kernel(name: str, params: dict[str, Any], n: float) -> float:
    return float(make_noise(name, params).stein(torch.tensor(n, dtype=torch.float64)))


SMOOTH = [law for law in LAWS if law[0] != "arcsine"]  # scipy's rule fails at the poles of its density


@pytest.mark.parametrize(("name", "params", "law"), SMOOTH, ids=[f"{name}-{params}" for name, params, _ in SMOOTH])
def test_it_is_its_definition(name: str, params: dict, law: stats.rv_continuous) -> None:
    """(1 / p) times the integral of (y - mean) p beyond x, on the side that has no cancellation, from u = 1e-5 to
    1 - 1e-5."""
    mean, deviation = law.mean(), law.std()
    for u in (1e-5, 1e-3, 0.03, 0.2, 0.45, 0.55, 0.8, 0.97, 0.999, 1.0 - 1e-5):
        x = float(law.ppf(u))
        ends = (float(law.support()[0]), x) if u < 0.5 else (x, float(law.support()[1]))
        with np.errstate(over="ignore"):  # scipy's Gumbel density, far below 0
            far = integrate.quad(lambda y: (y - mean) * law.pdf(y), *ends, epsabs=0.0, epsrel=1e-9, limit=400)[0]
        expected = abs(far) / law.pdf(x) / deviation**2
        assert kernel(name, params, (x - mean) / deviation) == pytest.approx(expected, rel=2e-5), u


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(("name", "params", "law"), LAWS, ids=IDS)
def test_stein_identity(name: str, params: dict, law: stats.rv_continuous, test: str) -> None:
    """E[n f(n)] = E[K(n) f'(n)], over the quantiles of scipy's law: u is uniform, with Gauss's rule in each octave of
    both tails."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    depth = np.arange(0.0, 37.0, 0.25)[:, None] + 0.125 * (1.0 + nodes)  # -ln(2 u)
    weight = np.broadcast_to(0.125 * weights, depth.shape) * np.exp(-depth) / 2.0
    small = np.exp(-depth) / 2.0
    n = (np.concatenate([law.ppf(small).ravel(), law.isf(small).ravel()]) - law.mean()) / law.std()
    weight = np.concatenate([weight.ravel(), weight.ravel()])
    k = make_noise(name, params).stein(torch.from_numpy(n)).numpy()
    f, derivative = (np.vectorize(part, otypes=[float]) for part in TESTS[test])
    left, right = (weight * n * f(n)).sum(), (weight * k * derivative(n)).sum()
    slack = 2e-3 if params == {"df": 2.5} else 1e-6  # n^2 p falls as |n|^-1.5: 37 octaves leave 2e-3 out
    assert right == pytest.approx(left, abs=slack)


MIXTURES = {
    "three": ([0.2, 0.5, 0.3], [-2.0, 0.1, 1.5], [0.3, 1.0, 0.5]),
    "default": ([0.5, 0.5], [-1.0, 1.0], [0.5, 0.5]),
}


@pytest.mark.parametrize("label", MIXTURES)
def test_gaussian_mixture(label: str) -> None:
    weights, means, stds = (np.array(values) for values in MIXTURES[label])
    mean = weights @ means
    deviation = math.sqrt(weights @ (stds**2 + means**2) - mean**2)
    params = {"weights": list(weights), "means": list(means), "stds": list(stds)}
    check_density(
        "gaussian_mixture",
        params,
        lambda n: deviation * (weights * stats.norm(means, stds).pdf(mean + deviation * n)).sum(),
        (-math.inf, math.inf),
    )


def check_density(
    name: str, params: dict, density: Callable[[float], float], support: tuple[float, float], jumps: tuple = ()
) -> None:
    """Against the definition for a standardised density, from its own formula."""
    for n in (-3.0, -1.7, -0.9, -0.2, 0.0, 0.3, 1.1, 1.8, 2.9):
        if not support[0] < n < support[1]:
            continue
        ends = (n, min(support[1], 60.0)) if n >= 0.0 else (max(support[0], -60.0), n)
        points = [jump for jump in (*jumps, -5.0, 5.0) if ends[0] < jump < ends[1]]
        far = integrate.quad(lambda y: y * density(y), *ends, epsabs=1e-16, epsrel=1e-10, limit=400, points=points)[0]
        assert kernel(name, params, n) == pytest.approx(abs(far) / density(n), rel=1e-6), n


def test_mixture_with_a_jump() -> None:
    """Half Laplace, half uniform: the density jumps at both ends of the uniform, and K with it."""
    laplace, uniform = stats.laplace(scale=math.sqrt(0.5)), stats.uniform(-ROOT_3, 2.0 * ROOT_3)
    check_density(
        "mixture", {}, lambda n: 0.5 * (laplace.pdf(n) + uniform.pdf(n)), (-math.inf, math.inf), (-ROOT_3, ROOT_3)
    )
    inside, outside = kernel("mixture", {}, ROOT_3 - 1e-9), kernel("mixture", {}, ROOT_3 + 1e-9)
    at = laplace.pdf(ROOT_3)
    assert outside / inside == pytest.approx((at + uniform.pdf(0.0)) / at, rel=1e-6)


def test_truncated() -> None:
    """The Laplace cut at 2 deviations; its variance by scipy."""
    cut = stats.truncexpon(2.0 * math.sqrt(2.0), scale=math.sqrt(0.5))  # the size of a draw
    deviation = math.sqrt(cut.moment(2))
    check_density(
        "truncated",
        {"bound": 2.0},
        lambda n: 0.5 * deviation * cut.pdf(abs(n) * deviation),
        (-2.0 / deviation, 2.0 / deviation),
        (0.0,),
    )


def test_outside_the_support_it_is_that_of_the_end() -> None:
    assert kernel("uniform", {}, 5.0) == pytest.approx(0.0, abs=1e-9)
    assert kernel("exponential", {}, -3.0) == pytest.approx(0.0, abs=1e-9)


def test_dtype_and_shape_are_those_of_the_draws() -> None:
    n = torch.linspace(-1.0, 1.0, 6).reshape(2, 3)
    k = make_noise("gumbel").stein(n)
    assert (k.dtype, k.shape) == (torch.float32, n.shape)


@pytest.mark.parametrize(
    ("name", "words"),
    [("bernoulli", "discrete"), ("exponential_uncentred", "mean 1"), ("averaged", "no log_prob in closed form")],
)
def test_noise_without_a_kernel_is_refused(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_noise(name).stein(torch.zeros(3))
