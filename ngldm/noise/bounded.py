"""Distributions with a density on an interval, beside `uniform`, each with its exact moments.

Sources of the formulas: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions (1994, 1995).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Beta

from ngldm.noise.distribution import Base, inside, real, uniform_draw
from ngldm.noise.families import gamma_draw
from ngldm.noise.parameters import number
from ngldm.noise.registry import register


@register("triangular")
def triangular() -> Base:
    """Symmetric triangle: the sum of two uniforms."""
    return Base(
        mean=0.0,
        variance=1.0 / 6.0,
        skewness=0.0,
        excess_kurtosis=-0.6,
        icdf=lambda u: torch.where(u < 0.5, (2.0 * u).sqrt() - 1.0, 1.0 - (2.0 * (1.0 - u)).sqrt()),
        log_prob=lambda x: inside(x, x.abs() < 1.0, lambda y: torch.log1p(-y.abs()), 0.0),
        stein=lambda x: (1.0 - x.abs()) * (1.0 + 2.0 * x.abs()) / 6.0,
        support=(-1.0, 1.0),
    )


@register("arcsine")
def arcsine() -> Base:
    """The distribution of sin of a random angle: bounded, most mass at its ends."""
    return Base(
        mean=0.0,
        variance=0.5,
        skewness=0.0,
        excess_kurtosis=-1.5,
        icdf=lambda u: torch.sin(math.pi * (u - 0.5)),
        log_prob=lambda x: inside(x, x.abs() < 1.0, lambda y: -math.log(math.pi) - 0.5 * torch.log1p(-(y**2)), 0.0),
        stein=lambda x: 1.0 - x**2,
        support=(-1.0, 1.0),
    )


@register("beta")
def beta(a: float = 2.0, b: float = 2.0) -> Base:
    """Beta(a, b), a and b > 0: bounded; (1, 1) is uniform, (1/2, 1/2) arcsine."""
    a, b = number("a", a, 1e-100, 1e9), number("b", b, 1e-100, 1e9)  # beyond, float64 loses density or moments
    total = a + b
    law = Beta(real(a), real(b), validate_args=False)

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        # The ratio of two gamma draws of shapes a and b, by logarithms: for small shapes the draws themselves are 0.
        logs = [
            gamma_draw(k + 1.0)(shape, generator, device).log() + uniform_draw(shape, generator, device).log() / k
            for k in (a, b)
        ]
        return torch.sigmoid(logs[0] - logs[1])

    return Base(
        law,
        skewness=2.0 * (b - a) * math.sqrt(total + 1.0) / ((total + 2.0) * math.sqrt(a * b)),
        excess_kurtosis=6.0
        * ((a - b) ** 2 * (total + 1.0) - a * b * (total + 2.0))
        / (a * b * (total + 2.0) * (total + 3.0)),
        draw=draw,
        stein=lambda x: x * (1.0 - x) / total,
        support=(0.0, 1.0),
    )
