"""The distributions that have a density, each with its exact moments; `bounded` has further ones.

Sources of the formulas: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions (1994, 1995).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Exponential,
    Gamma,
    Laplace,
    LogNormal,
    MixtureSameFamily,
    Normal,
    Uniform,
)
from torch.nn import functional as F

from ngldm.io.device import copied_once
from ngldm.io.errors import InputError
from ngldm.noise import stein_kernel
from ngldm.noise.distribution import Base, Draw, inside, real, uniform_draw
from ngldm.noise.parameters import number
from ngldm.noise.registry import register

EULER = 0.5772156649015329  # the Euler-Mascheroni constant, the mean of the Gumbel distribution
ZETA_3 = 1.2020569031595942  # Apery's constant, zeta(3), in the skewness of the Gumbel distribution


def _normal_draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    return torch.randn(tuple(shape), generator=generator, device=device)


def gamma_draw(concentration: float) -> Draw:
    """Draws of Gamma(concentration), float64; very small ones may be 0."""

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        alpha = torch.full(tuple(shape), concentration, dtype=torch.float64, device=device)
        # What torch's Gamma draws with; Gamma itself takes no generator.
        return torch._standard_gamma(alpha, generator=generator)

    return draw


@register("gaussian")
def gaussian() -> Base:
    """Normal distribution: the usual choice."""
    return Base(
        Normal(real(0.0), real(1.0)), skewness=0.0, excess_kurtosis=0.0, draw=_normal_draw, stein=torch.ones_like
    )


@register("laplace")
def laplace() -> Base:
    """Laplace: heavier tails, a kink at 0."""
    return Base(Laplace(real(0.0), real(1.0)), skewness=0.0, excess_kurtosis=3.0, stein=lambda x: 1.0 + x.abs())


@register("exponential")
def exponential() -> Base:
    """Exponential(1) - 1: one-sided."""
    return Base(Exponential(real(1.0)), skewness=2.0, excess_kurtosis=6.0, stein=lambda x: x, support=(0.0, math.inf))


@register("exponential_uncentred", standardise=False)
def exponential_uncentred() -> Base:
    """Exponential(1), mean 1: what the paper's public code draws. Kept to compare with; it breaks Theorem 1."""
    return exponential()


@register("uniform")
def uniform() -> Base:
    """Uniform(-sqrt(3), sqrt(3))."""
    return Base(
        Uniform(real(-1.0), real(1.0)),
        skewness=0.0,
        excess_kurtosis=-1.2,
        stein=lambda x: 0.5 * (1.0 - x**2),
        support=(-1.0, 1.0),
    )


@register("gumbel")
def gumbel() -> Base:
    """Gumbel (of maxima), shifted by Euler's constant and scaled by sqrt(6)/pi."""
    return Base(  # written out: torch's Gumbel is a transformed distribution, whose first use imports sympy, 2 s
        mean=EULER,
        variance=math.pi**2 / 6.0,
        icdf=lambda u: -(-u.log()).log(),
        log_prob=lambda x: -x - (-x).exp(),
        skewness=12.0 * math.sqrt(6.0) * ZETA_3 / math.pi**3,
        excess_kurtosis=2.4,
    )


@register("logistic")
def logistic() -> Base:
    """Logistic: between the Gaussian and the Laplace."""
    return Base(
        mean=0.0,
        variance=math.pi**2 / 3.0,
        skewness=0.0,
        excess_kurtosis=1.2,
        icdf=torch.logit,
        log_prob=lambda x: F.logsigmoid(x) + F.logsigmoid(-x),
        stein=stein_kernel.logistic,
    )


@register("student_t")
def student_t(df: float = 5.0) -> Base:
    """Student's t with `df` > 2 degrees of freedom: power-law tails."""
    df = number("df", df, high=1e100)
    if df <= 2.0:
        raise InputError(f"df: {df:g} must be above 2: with 2 or fewer degrees of freedom the variance is infinite")
    chi2, half = gamma_draw(df / 2.0), df / 2.0
    # lgamma(half + 1/2) - lgamma(half); for large df by its asymptotic series, where the difference has no digits left
    ratio = 0.5 * math.log(half) - 1.0 / (8.0 * half) + 1.0 / (192.0 * half**3) if df > 1e3 else None
    constant = (math.lgamma(half + 0.5) - math.lgamma(half) if ratio is None else ratio) - 0.5 * math.log(math.pi * df)

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        normal = torch.randn(tuple(shape), generator=generator, device=device, dtype=torch.float64)
        return normal / (chi2(shape, generator, device) * (2.0 / df)).sqrt()

    return Base(
        mean=0.0,
        variance=df / (df - 2.0),
        skewness=0.0 if df > 3.0 else math.nan,
        excess_kurtosis=6.0 / (df - 4.0) if df > 4.0 else math.inf,
        draw=draw,
        log_prob=lambda x: constant - (df + 1.0) / 2.0 * torch.log1p(x**2 / df),
        stein=lambda x: (df + x**2) / (df - 1.0),
    )


@register("generalized_normal")
def generalized_normal(beta: float = 1.5) -> Base:
    """Density ~ exp(-|x|^beta), beta > 0: 1 is Laplace, 2 Gaussian, infinity uniform."""
    beta = number("beta", beta, 0.05, 1000.0)
    # |x|^beta is gamma distributed of shape 1 / beta, as is U^beta times one of 1 + 1 / beta, never near 0.
    magnitude, g = gamma_draw(1.0 + 1.0 / beta), [math.lgamma(k / beta) for k in (1, 3, 5)]

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        sides = 2.0 * uniform_draw(shape, generator, device) - 1.0
        return sides * magnitude(shape, generator, device) ** (1.0 / beta)

    def log_prob(x: Tensor) -> Tensor:
        power = torch.where(x == 0.0, 0.0, torch.where(x == 0.0, 1.0, x).abs() ** beta)  # the slope at 0 is 0, not nan
        return math.log(beta / 2.0) - g[0] - power

    return Base(
        mean=0.0,
        variance=math.exp(g[1] - g[0]),
        skewness=0.0,
        excess_kurtosis=math.exp(g[2] + g[0] - 2.0 * g[1]) - 3.0,
        draw=draw,
        log_prob=log_prob,
        stein=lambda x: stein_kernel.generalized_normal(x, beta),
    )


@register("gamma")
def gamma(concentration: float = 2.0) -> Base:
    """Gamma with shape `concentration` > 0: one-sided; 1 is the exponential."""
    k = number("concentration", concentration, 1e-100, 1e9)  # above, the density loses its digits in float64
    law = Gamma(real(k), real(1.0), validate_args=False)
    return Base(
        law,
        skewness=2.0 / math.sqrt(k),
        excess_kurtosis=6.0 / k,
        draw=gamma_draw(k),
        stein=lambda x: x,
        support=(0.0, math.inf),
    )


@register("weibull")
def weibull(k: float = 2.0) -> Base:
    """Weibull with shape `k` > 0: 1 is the exponential, 2 Rayleigh, 3.6 nearly symmetric."""
    k = number("k", k, 0.1, 100.0)  # outside, the moments lose their digits in float64
    m1, m2, m3, m4 = (math.gamma(1.0 + i / k) for i in (1, 2, 3, 4))
    variance = m2 - m1**2
    return Base(
        mean=m1,
        variance=variance,
        skewness=(m3 - 3.0 * m1 * m2 + 2.0 * m1**3) / variance**1.5,
        excess_kurtosis=(m4 - 4.0 * m1 * m3 + 6.0 * m1**2 * m2 - 3.0 * m1**4) / variance**2 - 3.0,
        icdf=lambda u: (-torch.log1p(-u)) ** (1.0 / k),
        log_prob=lambda x: inside(x, x > 0, lambda y: math.log(k) + (k - 1.0) * y.log() - y**k, 1.0),
        stein=lambda x: stein_kernel.weibull(x, k),
        support=(0.0, math.inf),
    )


@register("lognormal")
def lognormal(sigma: float = 0.5) -> Base:
    """exp of a normal of deviation `sigma` > 0: one-sided, a heavy tail, all moments finite."""
    sigma = number("sigma", sigma, 1e-6, 5.0)  # below, standardising loses the digits of float64
    more = math.expm1(sigma**2)
    w = 1.0 + more
    law = LogNormal(real(0.0), real(sigma), validate_args=False)
    return Base(
        law,
        mean=math.sqrt(w),
        variance=more * w,
        skewness=(w + 2.0) * math.sqrt(more),
        excess_kurtosis=more * (16.0 + more * (15.0 + more * (6.0 + more))),  # w^4 + 2 w^3 + 3 w^2 - 6
        stein=lambda x: stein_kernel.lognormal(x, sigma),
        support=(0.0, math.inf),
    )


@register("gaussian_mixture")
def gaussian_mixture(
    weights: Sequence[float] = (0.5, 0.5), means: Sequence[float] = (-1.0, 1.0), stds: Sequence[float] = (0.5, 0.5)
) -> Base:
    """Normals of given `means` and `stds` > 0, drawn with probabilities `weights` that sum to 1."""
    lists = {"weights": weights, "means": means, "stds": stds}
    for key, values in lists.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise InputError(f"{key}: {values!r} must be a list of numbers")
        if len(values) != len(weights):
            raise InputError(f"{key}: {len(values)} values, but there are {len(weights)} weights")
        for i, value in enumerate(values):
            number(f"{key}[{i}]", value, -1e100 if key == "means" else 1e-100, 1e100)
    if abs(math.fsum(weights) - 1.0) > 1e-6:
        raise InputError(f"weights: {list(weights)} must sum to 1, sum to {math.fsum(weights):g}")
    w, m, s = (torch.tensor(list(values), dtype=torch.float64) for values in (weights, means, stds))
    m = m - (w * m).sum() / w.sum()  # centred now: adding a far mean would cost digits
    on = copied_once(w.cumsum(0)[:-1], w, m, s)
    variance = float((w * (s**2 + m**2)).sum())
    d, r = m / variance**0.5, s / variance**0.5
    third = float((w * (d**3 + 3.0 * d * r**2)).sum())
    fourth = float((w * (d**4 + 6.0 * d**2 * r**2 + 3.0 * r**4)).sum())

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        borders, _, means, stds = on(device)
        which = torch.bucketize(uniform_draw(shape, generator, device), borders)
        normal = torch.randn(tuple(shape), generator=generator, device=device, dtype=torch.float64)
        return means[which] + stds[which] * normal

    law = MixtureSameFamily(Categorical(w), Normal(m, s), validate_args=False)
    return Base(
        law,
        mean=0.0,
        skewness=third,
        excess_kurtosis=fourth - 3.0,
        draw=draw,
        stein=lambda x: stein_kernel.gaussian_mixture(x, *on(x.device)[1:]),
    )


def _log_normal_cdf(y: Tensor) -> Tensor:
    """ln Phi(y). Far below 0 the gradient of torch's log_ndtr has no digits left: it is a difference of squares."""
    low, high = y.clamp(max=-1.0), y.clamp(min=-1.0)
    tail = -0.5 * low**2 + torch.special.erfcx(-low / math.sqrt(2.0)).log() - math.log(2.0)
    return torch.where(y < -1.0, tail, torch.special.log_ndtr(high))


@register("skew_normal")
def skew_normal(alpha: float = 4.0) -> Base:
    """Azzalini's skew normal: `alpha` 0 is the Gaussian, infinity the half-normal."""
    alpha = number("alpha", alpha, -1e6, 1e6)
    rest = 1.0 / math.sqrt(1.0 + alpha**2)
    delta = alpha * rest
    mean = delta * math.sqrt(2.0 / math.pi)
    variance = 1.0 - mean**2

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        half, other = (
            torch.randn(tuple(shape), generator=generator, device=device, dtype=torch.float64) for _ in range(2)
        )
        return delta * half.abs() + rest * other

    return Base(
        mean=mean,
        variance=variance,
        skewness=(4.0 - math.pi) / 2.0 * mean**3 / variance**1.5,
        excess_kurtosis=2.0 * (math.pi - 3.0) * mean**4 / variance**2,
        draw=draw,
        log_prob=lambda x: math.log(2.0) - 0.5 * x**2 - 0.5 * math.log(2.0 * math.pi) + _log_normal_cdf(alpha * x),
    )
