"""The distributions of countably many values, each with its exact moments. They have no density and no score.

Source of the formulas: Johnson, Kemp and Kotz, Univariate Discrete Distributions (2005).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Poisson

from ngldm.noise.distribution import Base, Function, inside, real, uniform_draw
from ngldm.noise.parameters import number, whole
from ngldm.noise.registry import register

SMALLEST, LARGEST = 1e-100, 1e9  # of a rate or a count: beyond, moments or probabilities lose the digits of float64


def _binomial_log_prob(n: int, p: float) -> Function:
    """Written out: torch's rounds p to 2^-52 and 1 - 2^-52."""

    def log_prob(k: Tensor) -> Tensor:
        chosen = math.lgamma(n + 1.0) - torch.lgamma(k + 1.0) - torch.lgamma(n - k + 1.0)
        return chosen + k * math.log(p) + (n - k) * math.log1p(-p)

    return lambda x: inside(x, (x >= 0.0) & (x <= n), log_prob, 0.0)


@register("bernoulli")
def bernoulli(p: float = 0.5) -> Base:
    """Two values, the upper with probability `p` in (0, 1): Rademacher signs for 1/2."""
    p = number("p", p, SMALLEST, 1.0)
    q = 1.0 - p

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        return (uniform_draw(shape, generator, device) < p).double()

    return Base(
        mean=p,
        variance=p * q,
        skewness=(q - p) / math.sqrt(p * q),
        excess_kurtosis=(1.0 - 6.0 * p * q) / (p * q),
        draw=draw,
        log_prob=_binomial_log_prob(1, p),
        discrete=True,
    )


@register("binomial")
def binomial(n: int = 4, p: float = 0.5) -> Base:
    """Number of successes in `n` trials of probability `p` in (0, 1)."""
    n, p = whole("n", n), number("p", p, SMALLEST, 1.0)
    number("n", n, 0, LARGEST)
    q = 1.0 - p

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        count = torch.full(tuple(shape), float(n), dtype=torch.float64, device=device)
        return torch.binomial(count, torch.full_like(count, p), generator=generator)

    return Base(
        mean=n * p,
        variance=n * p * q,
        skewness=(q - p) / math.sqrt(n * p * q),
        excess_kurtosis=(1.0 - 6.0 * p * q) / (n * p * q),
        draw=draw,
        log_prob=_binomial_log_prob(n, p),
        discrete=True,
    )


@register("poisson")
def poisson(rate: float = 4.0) -> Base:
    """Counts of mean `rate` > 0."""
    rate = number("rate", rate, SMALLEST, LARGEST)

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        return torch.poisson(torch.full(tuple(shape), rate, dtype=torch.float64, device=device), generator=generator)

    law = Poisson(real(rate), validate_args=False)
    return Base(law, skewness=rate**-0.5, excess_kurtosis=1.0 / rate, draw=draw, discrete=True)
