"""The distributions of countably many values, each with its exact moments. They have no density and no score.

Source of the formulas: Johnson, Kemp and Kotz, Univariate Discrete Distributions (2005).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Binomial, Poisson

from ngldm.noise.distribution import Base, real, uniform_draw
from ngldm.noise.parameters import number, whole
from ngldm.noise.registry import register


@register("bernoulli")
def bernoulli(p: float = 0.5) -> Base:
    """Two values, the upper with probability `p` in (0, 1): Rademacher signs for 1/2."""
    p = number("p", p, 0.0, 1.0)
    q = 1.0 - p

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        return (uniform_draw(shape, generator, device) < p).double()

    law = Bernoulli(real(p), validate_args=False)
    kurtosis = (1.0 - 6.0 * p * q) / (p * q)
    return Base(law, skewness=(q - p) / math.sqrt(p * q), excess_kurtosis=kurtosis, draw=draw, discrete=True)


@register("binomial")
def binomial(n: int = 4, p: float = 0.5) -> Base:
    """Number of successes in `n` trials of probability `p` in (0, 1)."""
    n, p = whole("n", n), number("p", p, 0.0, 1.0)
    q = 1.0 - p

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        count = torch.full(tuple(shape), float(n), dtype=torch.float64, device=device)
        return torch.binomial(count, torch.full_like(count, p), generator=generator)

    return Base(
        Binomial(n, real(p), validate_args=False),
        skewness=(q - p) / math.sqrt(n * p * q),
        excess_kurtosis=(1.0 - 6.0 * p * q) / (n * p * q),
        draw=draw,
        discrete=True,
    )


@register("poisson")
def poisson(rate: float = 4.0) -> Base:
    """Counts of mean `rate` > 0."""
    rate = number("rate", rate, 0.0)

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        return torch.poisson(torch.full(tuple(shape), rate, dtype=torch.float64, device=device), generator=generator)

    law = Poisson(real(rate), validate_args=False)
    return Base(law, skewness=rate**-0.5, excess_kurtosis=1.0 / rate, draw=draw, discrete=True)
