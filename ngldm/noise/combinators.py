"""Noise made from other noise. A base is given as in params.yaml: {distribution: <name>, <its parameters>}."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.noise.distribution import Base, Noise
from ngldm.noise.parameters import number, whole
from ngldm.noise.registry import make_noise, register

EXPONENTIAL, LAPLACE, UNIFORM = ({"distribution": name} for name in ("exponential", "laplace", "uniform"))
QUADRATURE = 2**19  # points at which a truncated distribution is integrated


def _make(key: str, options: object) -> Noise:
    """The noise that the parameter `key` describes."""
    if not isinstance(options, Mapping) or not isinstance(options.get("distribution"), str):
        raise InputError(f"{key}: {options!r} must be a mapping with `distribution` and that one's parameters")
    try:
        return make_noise(options["distribution"], {k: v for k, v in options.items() if k != "distribution"})
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


@register("mirrored")
def mirrored(base: Mapping[str, object] = EXPONENTIAL) -> Base:
    """`base` before it is standardised, with a random sign: the exponential becomes the Laplace."""
    noise = _make("base", base)
    mean, sd = noise.mean / noise.scale + noise.shift, math.sqrt(noise.variance) / noise.scale  # before centring
    variance = sd**2
    second = variance + mean**2
    third = noise.skewness * sd**3
    fourth = (noise.excess_kurtosis + 3.0) * variance**2 + 4.0 * third * mean + 6.0 * variance * mean**2 + mean**4
    raw = noise.base.function("log_prob")

    def draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        x = noise.sample(shape, generator, device, torch.float64) / noise.scale + noise.shift
        return torch.where(torch.rand(tuple(shape), generator=generator, device=device) < 0.5, x, -x)

    return Base(
        mean=0.0,
        variance=second,
        skewness=0.0,
        excess_kurtosis=fourth / second**2 - 3.0,
        draw=draw,
        log_prob=raw and (lambda x: torch.logaddexp(raw(x), raw(-x)) - math.log(2.0)),
        discrete=noise.base.discrete,
    )


@register("mixture")
def mixture(first: Mapping[str, object] = LAPLACE, second: Mapping[str, object] = UNIFORM, weight: float = 0.5) -> Base:
    """A draw of standardised `first` with probability `weight` in (0, 1), else of standardised `second`."""
    one, two, w = _make("first", first), _make("second", second), number("weight", weight, 0.0, 1.0)
    mean = w * one.mean + (1.0 - w) * two.mean
    central = [0.0, 0.0, 0.0]
    for part, noise in ((w, one), (1.0 - w, two)):
        d, v = noise.mean - mean, noise.variance
        third, fourth = noise.skewness * v**1.5, (noise.excess_kurtosis + 3.0) * v**2
        central[0] += part * (v + d**2)
        central[1] += part * (third + 3.0 * d * v + d**3)
        central[2] += part * (fourth + 4.0 * d * third + 6.0 * d**2 * v + d**4)

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
    )


@register("truncated")
def truncated(base: Mapping[str, object] = LAPLACE, bound: float = 2.0) -> Base:
    """Standardised `base` without all that lies beyond `bound` > 0 deviations, standardised again."""
    noise, bound = _make("base", base), number("bound", bound, 0.0)
    if noise.base.function("icdf") is None:
        raise InputError(
            f"base: {noise.name!r} has no icdf, from which the moments of the truncated noise would follow"
        )
    u = (torch.arange(QUADRATURE, dtype=torch.float64) + 0.5) / QUADRATURE
    x = noise.icdf(u)
    kept = x[x.abs() <= bound]
    mass = len(kept) / QUADRATURE
    if mass < 0.01:
        raise InputError(f"bound: {bound:g} keeps {100 * mass:.2g} % of {noise.name!r}; it must keep at least 1 %")
    low, high = float(u[x.abs() <= bound][0]), float(u[x.abs() <= bound][-1])
    mean, d = float(kept.mean()), kept - kept.mean()
    variance = float(d.square().mean())

    def inverse(v: Tensor) -> Tensor:
        return noise.icdf(low + (high - low) * v)

    density = noise.base.function("log_prob") and not noise.base.discrete
    return Base(
        mean=mean,
        variance=variance,
        skewness=float((d**3).mean()) / variance**1.5,
        excess_kurtosis=float((d**4).mean()) / variance**2 - 3.0,
        icdf=inverse,
        log_prob=(lambda y: torch.where(y.abs() <= bound, noise.log_prob(y) - math.log(mass), -torch.inf))
        if density
        else None,
    )


@register("averaged")
def averaged(base: Mapping[str, object] = EXPONENTIAL, n: int = 4) -> Base:
    """The standardised mean of `n` draws of `base`: with 1 it is the base, with larger `n` it nears the Gaussian."""
    noise, n = _make("base", base), whole("n", n)

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
