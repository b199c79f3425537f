"""Noise made from other noise. A base is given as in params.yaml: {distribution: <name>, <its parameters>}."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.io.limits import MAX_AVERAGED
from ngldm.noise.distribution import Base, Function, Noise
from ngldm.noise.parameters import number, whole
from ngldm.noise.registry import make_iid_part, register

EXPONENTIAL, LAPLACE, UNIFORM = ({"distribution": name} for name in ("exponential", "laplace", "uniform"))
PANELS = 2**12  # into which each half of a truncated distribution's probability is cut for the integration
NODES = ((-0.8611363115940526, 0.34785484513745385), (-0.33998104358485626, 0.6521451548625461))  # Gauss's, of 4
DEEPEST = 53 * math.log(2.0)  # ln of the smallest probability that float64 can tell from 0 beside 1


def _times(factor: float, moment: float) -> float:
    """Their product; 0 where the factor is, though the moment may not exist."""
    return factor * moment if factor else 0.0


@register("mirrored")
def mirrored(base: Mapping[str, object] = EXPONENTIAL) -> Base:
    """`base` before it is standardised, with a random sign: the exponential becomes the Laplace."""
    noise = make_iid_part("base", base)
    mean, sd = noise.mean / noise.scale + noise.shift, math.sqrt(noise.variance) / noise.scale  # before centring
    variance = sd**2
    second = variance + mean**2
    third = noise.skewness * sd**3
    fourth = (
        (noise.excess_kurtosis + 3.0) * variance**2 + _times(4.0 * mean, third) + 6.0 * variance * mean**2 + mean**4
    )
    raw, farthest = noise.base.function("log_prob"), max(abs(end) for end in noise.base.support)

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        x = noise.draw(shape, generator, device)
        return torch.where(torch.rand(tuple(shape), generator=generator, device=device) < 0.5, x, -x)

    return Base(
        mean=0.0,
        variance=second,
        skewness=0.0,
        excess_kurtosis=fourth / second**2 - 3.0,
        draw=draw,
        log_prob=raw and (lambda x: torch.logaddexp(raw(x), raw(-x)) - math.log(2.0)),
        discrete=noise.base.discrete,
        support=(-farthest, farthest),
    )


@register("mixture")
def mixture(first: Mapping[str, object] = LAPLACE, second: Mapping[str, object] = UNIFORM, weight: float = 0.5) -> Base:
    """A draw of standardised `first` with probability `weight` in (0, 1), else of standardised `second`."""
    one, two, w = make_iid_part("first", first), make_iid_part("second", second), number("weight", weight, 0.0, 1.0)
    mean = w * one.mean + (1.0 - w) * two.mean
    central = [0.0, 0.0, 0.0]
    for part, noise in ((w, one), (1.0 - w, two)):
        d, v = noise.mean - mean, noise.variance
        third, fourth = noise.skewness * v**1.5, (noise.excess_kurtosis + 3.0) * v**2
        central[0] += part * (v + d**2)
        central[1] += part * (third + 3.0 * d * v + d**3)
        central[2] += part * (fourth + _times(4.0 * d, third) + 6.0 * d**2 * v + d**4)

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        x, y = (noise.sample(shape, generator, device, torch.float64) for noise in (one, two))
        return torch.where(torch.rand(tuple(shape), generator=generator, device=device, dtype=torch.float64) < w, x, y)

    density = all(n.base.function("log_prob") and not n.base.discrete for n in (one, two))
    return Base(
        mean=mean,
        variance=central[0],
        skewness=central[1] / central[0] ** 1.5,
        excess_kurtosis=central[2] / central[0] ** 2 - 3.0,
        draw=draw,
        log_prob=(lambda x: torch.logaddexp(one.log_prob(x) + math.log(w), two.log_prob(x) + math.log1p(-w)))
        if density
        else None,
        discrete=one.base.discrete and two.base.discrete,
        support=(min(one.support[0], two.support[0]), max(one.support[1], two.support[1])),
    )


@register("truncated")
def truncated(base: Mapping[str, object] = LAPLACE, bound: float = 2.0) -> Base:
    """Standardised `base` without all that lies beyond `bound` > 0 deviations, standardised again."""
    noise, bound = make_iid_part("base", base), number("bound", bound, 0.0)
    if noise.base.function("icdf") is None:
        raise InputError(
            f"base: {noise.name!r} has no icdf, from which the moments of the truncated noise would follow"
        )
    low, high = _probability(noise, -bound), _probability(noise, bound)
    mass = high - low
    if mass < 0.01:
        raise InputError(f"bound: {bound:g} keeps {100 * mass:.2g} % of {noise.name!r}; it must keep at least 1 %")

    def inverse(v: Tensor) -> Tensor:
        return noise.icdf(low + mass * v).clamp(-bound, bound)

    x, weight = _quadrature(inverse)
    mean = float((weight * x).sum())
    d = x - mean
    variance = float((weight * d**2).sum())
    density = noise.base.function("log_prob") and not noise.base.discrete
    ends = noise.support
    return Base(
        mean=mean,
        variance=variance,
        skewness=float((weight * d**3).sum()) / variance**1.5,
        excess_kurtosis=float((weight * d**4).sum()) / variance**2 - 3.0,
        icdf=inverse,
        log_prob=(lambda y: torch.where(y.abs() <= bound, noise.log_prob(y) - math.log(mass), -torch.inf))
        if density
        else None,
        support=(max(-bound, ends[0]), min(bound, ends[1])),
    )


def _probability(noise: Noise, x: float) -> float:
    """How much of a noise lies below x, by halving the interval of its `icdf`; exactly 0 or 1 beyond all draws."""
    low, high = 0.0, 1.0
    for _ in range(64):
        middle = (low + high) / 2.0
        if middle in (low, high) or middle < 2.0**-54 or middle > 1.0 - 2.0**-53:
            break
        low, high = (
            (middle, high) if float(noise.icdf(torch.tensor(middle, dtype=torch.float64))) < x else (low, middle)
        )
    if low == 0.0 or high == 1.0:
        return low if low == 0.0 else high
    return (low + high) / 2.0


def _quadrature(inverse: Function) -> tuple[Tensor, Tensor]:
    """Points and weights of the expectation over u uniform in (0, 1): Gauss's rule in ln u and in ln(1 - u).

    Evenly spaced u would miss the tails.
    """
    width = DEEPEST / PANELS
    starts = torch.arange(PANELS, dtype=torch.float64) * width
    parts = [
        (starts + (1.0 + sign * node) * width / 2.0, torch.full_like(starts, weight * width / 2.0))
        for node, weight in NODES
        for sign in (1.0, -1.0)
    ]
    depth, weight = torch.cat([depth for depth, _ in parts]), torch.cat([weight for _, weight in parts])
    small = (-depth).exp() / 2.0
    weight = weight * small
    return torch.cat([inverse(small), inverse(1.0 - small)]), torch.cat([weight, weight]) / (2.0 * weight.sum())


@register("averaged")
def averaged(base: Mapping[str, object] = EXPONENTIAL, n: int = 4) -> Base:
    """The standardised mean of `n` draws of `base`: with 1 it is the base, with larger `n` it nears the Gaussian."""
    noise, n = make_iid_part("base", base), whole("n", n, MAX_AVERAGED)

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        total = noise.sample(shape, generator, device, torch.float64)
        for _ in range(n - 1):
            total = total + noise.sample(shape, generator, device, torch.float64)
        return total / math.sqrt(n)

    return Base(
        mean=noise.mean * math.sqrt(n),
        variance=noise.variance,
        skewness=noise.skewness / math.sqrt(n),
        excess_kurtosis=noise.excess_kurtosis / n,
        draw=draw,
        discrete=noise.base.discrete,
    )
