"""The distributions with a density: moments, density, quantiles and draws, against scipy.stats.

The oracle of the paper's noises has its normalisations (Appendix B, sigma = 1) as literal numbers.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.noise import Noise, make_noise

SQRT_3 = 1.7320508075688772
GUMBEL_SCALE = 0.7796968012336761  # sqrt(6) / pi
GUMBEL_SHIFT = -0.45005320754569466  # -gamma sqrt(6) / pi

ORACLES = {
    "gaussian": stats.norm(0.0, 1.0),
    "laplace": stats.laplace(0.0, 0.7071067811865476),
    "exponential": stats.expon(-1.0, 1.0),
    "exponential_uncentred": stats.expon(0.0, 1.0),
    "uniform": stats.uniform(-SQRT_3, 2 * SQRT_3),
    "gumbel": stats.gumbel_r(GUMBEL_SHIFT, GUMBEL_SCALE),
}
# Central moments of order 2, 3, 4, 6, 8, for standard errors: (2k)! / 2^k, numbers of derangements, 3^k / (2k + 1), and
# for Gumbel from the cumulants (n - 1)! zeta(n) (sqrt(6) / pi)^n.
CENTRAL_MOMENTS = {
    "gaussian": {2: 1.0, 3: 0.0, 4: 3.0, 6: 15.0, 8: 105.0},
    "laplace": {2: 1.0, 3: 0.0, 4: 6.0, 6: 90.0, 8: 2520.0},
    "exponential": {2: 1.0, 3: 2.0, 4: 9.0, 6: 265.0, 8: 14833.0},
    "exponential_uncentred": {2: 1.0, 3: 2.0, 4: 9.0, 6: 265.0, 8: 14833.0},
    "uniform": {2: 1.0, 3: 0.0, 4: 9 / 5, 6: 27 / 7, 8: 9.0},
    "gumbel": {2: 1.0, 3: 1.1395470994, 4: 5.4, 6: 91.414247, 8: 3091.02294},
}
NAMES = sorted(ORACLES)
STANDARD = [name for name in NAMES if name != "exponential_uncentred"]
INVERTED = [name for name in NAMES if name != "gaussian"]  # the Gaussian comes from torch.randn
SIZE = 2**19
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, whose generator draws")
EXTREME_UNIFORMS = [0.0, 2.0**-53, 2.0**-52, 0.5, 1.0 - 2.0**-52, 1.0 - 2.0**-53]  # torch.rand's range in float64
# name, parameters, scipy's distribution before standardising
LAWS = [
    ("logistic", {}, stats.logistic()),
    ("student_t", {"df": 5.0}, stats.t(5)),
    ("student_t", {"df": 12}, stats.t(12)),
    ("generalized_normal", {"beta": 1.5}, stats.gennorm(1.5)),
    ("generalized_normal", {"beta": 8.0}, stats.gennorm(8)),
    ("gamma", {"concentration": 2.0}, stats.gamma(2)),
    ("gamma", {"concentration": 0.5}, stats.gamma(0.5)),
    ("weibull", {"k": 2.0}, stats.weibull_min(2)),
    ("weibull", {"k": 0.9}, stats.weibull_min(0.9)),
    ("lognormal", {"sigma": 0.5}, stats.lognorm(0.5)),
    ("skew_normal", {"alpha": 4.0}, stats.skewnorm(4)),
    ("skew_normal", {"alpha": -1.5}, stats.skewnorm(-1.5)),
]
IDS = [f"{name}-{params}" for name, params, _ in LAWS]


def draw(name: str, size: int = SIZE, seed: int = 0, **options: Any) -> torch.Tensor:
    return make_noise(name).sample((size,), torch.Generator().manual_seed(seed), **options)


def feed_uniforms(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Make torch.rand return these values, so that `sample` returns exact quantiles."""

    def rand(shape: Any, *, dtype: torch.dtype, **_: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype).reshape(shape)

    monkeypatch.setattr(torch, "rand", rand)


def quantiles(monkeypatch: pytest.MonkeyPatch, name: str, uniforms: list[float], **options: Any) -> torch.Tensor:
    feed_uniforms(monkeypatch, uniforms)
    return make_noise(name).sample((len(uniforms),), **options)


def moment_claimed(noise: Noise, order: int) -> float:
    """E (x - mean)^order of a noise of variance 1 by its attributes; order 1 is the mean itself."""
    return {1: noise.mean, 2: noise.variance, 3: noise.skewness, 4: noise.excess_kurtosis + 3.0}[order]


def moment_sampled(x: torch.Tensor, mean: float, order: int) -> float:
    return float(x.mean()) if order == 1 else float(((x - mean) ** order).mean())


def standard_error(name: str, order: int, size: int) -> float:
    """Of the mean of z^k over `size` draws: sqrt(Var(z^k) / size), Var(z^k) = E z^2k - (E z^k)^2, z centred."""
    moments = {1: 0.0, **CENTRAL_MOMENTS[name]}
    return math.sqrt((moments[2 * order] - moments[order] ** 2) / size)


@pytest.mark.parametrize(("name", "params", "law"), LAWS, ids=IDS)
def test_it_is_scipys(name: str, params: dict, law: stats.rv_continuous, same_as_scipy: Callable[..., None]) -> None:
    same_as_scipy(name, params, law)


@pytest.mark.parametrize("name", NAMES)
def test_moments_equal_closed_form(name: str) -> None:
    noise = make_noise(name)
    mean, variance, skewness, excess_kurtosis = (float(v) for v in ORACLES[name].stats("mvsk"))
    assert noise.mean == pytest.approx(mean, abs=1e-12)
    assert noise.variance == pytest.approx(variance, rel=1e-12)
    assert noise.skewness == pytest.approx(skewness, abs=1e-9)
    assert noise.excess_kurtosis == pytest.approx(excess_kurtosis, abs=1e-9)


@pytest.mark.parametrize("name", STANDARD)
def test_fair_noise_has_mean_0_and_variance_1(name: str) -> None:
    noise = make_noise(name)
    assert noise.mean == 0.0
    assert noise.variance == pytest.approx(1.0, rel=1e-15)


def test_uncentred_exponential_has_mean_1_and_the_shape_of_the_centred_one() -> None:
    uncentred, centred = make_noise("exponential_uncentred"), make_noise("exponential")
    assert (uncentred.mean, uncentred.variance) == (1.0, 1.0)
    assert (uncentred.skewness, uncentred.excess_kurtosis) == (centred.skewness, centred.excess_kurtosis)
    x = draw("exponential_uncentred")
    assert float(x.mean()) == pytest.approx(1.0, abs=5 / math.sqrt(SIZE))
    assert float(x.min()) >= 0.0


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_claimed_moments(name: str, order: int) -> None:
    """Mean, variance, third and fourth standardised moment of 2^19 draws, within 5 standard errors."""
    noise = make_noise(name)
    sampled = moment_sampled(draw(name, seed=order, dtype=torch.float64), noise.mean, order)
    assert sampled == pytest.approx(moment_claimed(noise, order), abs=5 * standard_error(name, order, SIZE))


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_distribution(name: str) -> None:
    """Kolmogorov-Smirnov: P(D > k / sqrt(n)) is about 2 exp(-2 k^2), 7e-6 for k = 2.5."""
    size = 100_000
    x = draw(name, size, seed=11, dtype=torch.float64).numpy()
    assert stats.kstest(x, ORACLES[name].cdf).statistic < 2.5 / math.sqrt(size)


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_independent_within_a_tensor(name: str) -> None:
    """Neighbours are uncorrelated along both axes: for independent draws the estimate has variance 1 / n."""
    x = make_noise(name).sample((512, 512), torch.Generator().manual_seed(3)) - make_noise(name).mean
    for product in (x[1:] * x[:-1], x[:, 1:] * x[:, :-1]):
        assert abs(float(product.mean())) < 5 / math.sqrt(product.numel())


@pytest.mark.parametrize("name", INVERTED)
def test_samples_are_the_quantiles_of_the_uniforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uniforms = [1e-9, 0.01, 0.25, 0.5, 0.75, 0.99, 1 - 1e-9]
    x = quantiles(monkeypatch, name, uniforms, dtype=torch.float64)
    # Gumbel in torch goes through uniforms scaled by 1 - 2^-52, which moves the quantile at 1 - 1e-9 by 2e-7.
    np.testing.assert_allclose(x.numpy(), ORACLES[name].ppf(uniforms), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "uniform", "quantile"),
    [
        ("laplace", 0.75, 0.4901290717342735),  # ln 2 / sqrt 2: scale sigma / sqrt 2
        ("laplace", 0.25, -0.4901290717342735),
        ("exponential", 0.0, -1.0),  # the rate is 1 / sigma, sigma is subtracted
        ("exponential", 0.5, -0.3068528194400547),  # ln 2 - 1
        ("exponential_uncentred", 0.5, 0.6931471805599453),
        ("uniform", 0.0, -1.7320508075688772),
        ("uniform", 1.0 - 2.0**-53, 1.7320508075688772),
        ("gumbel", 0.36787944117144233, -0.45005320754569466),  # F(mu) = 1/e, mu = -gamma sqrt(6) / pi
        ("gumbel", 0.5, -0.16428425575735861),  # a Gumbel of maxima: median below the mean
    ],
)
def test_appendix_b_in_numbers(name: str, uniform: float, quantile: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert float(quantiles(monkeypatch, name, [uniform], dtype=torch.float64)) == pytest.approx(quantile, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", INVERTED)
def test_extreme_uniforms_give_finite_noise(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x = quantiles(monkeypatch, name, EXTREME_UNIFORMS, dtype=dtype)
    assert bool(torch.isfinite(x).all())
    assert bool((x.diff() >= 0).all())


@pytest.mark.parametrize("name", ["exponential", "laplace", "gumbel"])
def test_tails_reach_beyond_float32_uniforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 24-bit uniform cuts the upper tail at the quantile of 1 - 2^-24."""
    farthest = float(quantiles(monkeypatch, name, EXTREME_UNIFORMS)[-1])
    assert farthest > ORACLES[name].ppf(1 - 2.0**-50) > 1.9 * ORACLES[name].ppf(1 - 2.0**-24)


@pytest.mark.parametrize("name", NAMES)
def test_a_million_bfloat16_draws_are_finite(name: str) -> None:
    assert bool(torch.isfinite(draw(name, 10**6, seed=8, dtype=torch.bfloat16)).all())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
@pytest.mark.parametrize("name", NAMES)
def test_a_device_draws_reproducibly_with_the_claimed_moments(name: str, device: str) -> None:
    """A number that bfloat16 rounds to an end of the support, or beyond, is put to the next one inside."""
    noise, generator = make_noise(name), torch.Generator(device).manual_seed(2)
    x = noise.sample((SIZE,), generator, device, torch.float64)
    assert x.device.type == device
    assert bool(torch.isfinite(x).all())
    for order in (1, 2, 3, 4):
        bound = 5 * standard_error(name, order, SIZE)
        assert moment_sampled(x, noise.mean, order) == pytest.approx(moment_claimed(noise, order), abs=bound)
    generator.manual_seed(2)
    low, high = ORACLES[name].support()
    expected = x.cpu().to(torch.bfloat16)
    outside = (expected.double() <= low) | (expected.double() >= high)
    expected[outside] = torch.nextafter(expected[outside], torch.zeros((), dtype=torch.bfloat16))
    assert torch.equal(noise.sample((SIZE,), generator, device, torch.bfloat16).cpu(), expected)
    assert bool(outside.any()) == (name in ("exponential", "uniform"))


def test_gaussian_mixture_by_hand() -> None:
    """1/4 N(-3, 1) + 3/4 N(1, 1): mean 0, variance 4, third moment -6, fourth 40 (by hand)."""
    noise = make_noise("gaussian_mixture", {"weights": [0.25, 0.75], "means": [-3.0, 1.0], "stds": [1.0, 1.0]})
    assert noise.scale == pytest.approx(0.5)
    assert noise.skewness == pytest.approx((0.25 * -27 + 0.75) / 8)
    fourth = 0.25 * (81 + 6 * 9 + 3) + 0.75 * (1 + 6 + 3)
    assert noise.excess_kurtosis == pytest.approx(fourth / 16 - 3)


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("student_t", {"df": 2}, "df: 2 must be above 2: .* variance is infinite"),
        ("student_t", {"df": "5"}, "df: '5' is not a finite number"),
        ("gamma", {"concentration": -1.0}, "concentration: -1.0 must be strictly between 1e-100 and"),
        ("gaussian_mixture", {"weights": [0.5, 0.6]}, "weights: .* must sum to 1, sum to 1.1"),
        ("gaussian_mixture", {"stds": [1.0, -1.0]}, r"stds\[1\]: -1.0 must be strictly between 1e-100 and"),
        ("gaussian_mixture", {"means": [1.0]}, "means: 1 values, but there are 2 weights"),
        ("lognormal", {"sigma": math.nan}, "sigma: nan is not a finite number"),
    ],
)
def test_bad_parameters_are_named_with_what_is_allowed(name: str, params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_noise(name, params)
