"""Noise distributions, each standardised to mean 0 and variance 1 (Theorem 1's fair comparison).

A distribution is registered by a decorated function that returns a `torch.distributions` object, at any location
and scale, with its skewness and excess kurtosis, which standardising leaves as they are:

    @register("laplace")
    def laplace() -> Base:
        return Base(Laplace(0.0, 1.0), skewness=0.0, excess_kurtosis=3.0)

One `Noise` object serves training, the start of sampling and its steps, and is saved with the model by name and
parameters. Packages of yours add distributions without touching this file through the entry point group
`ngldm.noises`: each entry point names a module that calls `register`.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Exponential, Gumbel, Laplace, Normal, Uniform

from ngldm.errors import InputError, unknown

Draw = Callable[[Sequence[int], torch.Generator | None, torch.device], Tensor]
ENTRY_POINT_GROUP = "ngldm.noises"
ZETA_3 = 1.2020569031595942  # Apery's constant, in the skewness of the Gumbel distribution


@dataclass(frozen=True)
class Base:
    """A distribution before standardising, and the moments that standardising keeps.

    `draw(shape, generator, device)` replaces inversion of the distribution function where there is something
    faster, or where the distribution has no `icdf`.
    """

    distribution: Distribution
    skewness: float
    excess_kurtosis: float
    draw: Draw | None = None


@dataclass(frozen=True)
class Noise:
    """A noise distribution: who it is, its exact moments, and how to draw from it.

    Attributes:
        name: name in the registry.
        params: the parameters that it was made with, e.g. {"df": 5.0}.
        mean, variance: 0 and 1, but for `exponential_uncentred`.
        skewness, excess_kurtosis: standardised third and fourth moments (a Gaussian has 0 and 0).
    """

    name: str
    params: Mapping[str, float]
    mean: float
    variance: float
    skewness: float
    excess_kurtosis: float
    base: Base = field(repr=False)
    shift: float = field(repr=False)
    scale: float = field(repr=False)

    def sample(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Independent draws.

        Args:
            shape: shape of the result.
            generator: on `device`; the same state gives the same numbers (up to rounding to `dtype`).
            device, dtype: of the result. Drawing happens in float64 or float32, so that bfloat16 noise is
                float32 noise rounded, tails included.
        """
        x = (self.base.draw or self._invert)(shape, generator, torch.device(device))
        if (self.shift, self.scale) != (0.0, 1.0):
            x = (x - self.shift) * self.scale
        return x.to(dtype)

    def _invert(self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        # float64: in float32 a uniform number has 24 bits, which cuts an exponential tail at 17 and reaches 0 often
        # enough that an infinite draw would come once in 16 million.
        u = torch.rand(tuple(shape), generator=generator, device=device, dtype=torch.float64)
        u = u.clamp_(2.0**-54, 1.0 - 2.0**-53)
        return self.base.distribution.icdf(u)


@dataclass(frozen=True)
class _Entry:
    factory: Callable[..., Base]
    standardise: bool


_REGISTRY: dict[str, _Entry] = {}


def register(name: str, *, standardise: bool = True) -> Callable[[Callable[..., Base]], Callable[..., Base]]:
    """Decorator: make a distribution known under `name`. The function's arguments are its parameters.

    Args:
        standardise: subtract the mean and divide by the standard deviation. False keeps the distribution as it
            is, which no fair comparison may use; it exists for the paper's uncentred exponential.
    """

    def decorate(factory: Callable[..., Base]) -> Callable[..., Base]:
        if name in _REGISTRY:
            raise InputError(f"noise {name!r} is registered already, by {_REGISTRY[name].factory.__module__}")
        _REGISTRY[name] = _Entry(factory, standardise)
        return factory

    return decorate


def noise_names() -> list[str]:
    """All registered names, those of installed entry points included."""
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry_point.load()
        except Exception as error:
            raise InputError(
                f"entry point {entry_point.name!r} of group {ENTRY_POINT_GROUP!r} ({entry_point.value}) "
                f"cannot be imported: {error}"
            ) from error
    return sorted(_REGISTRY)


def make_noise(name: str, params: Mapping[str, Any] | None = None) -> Noise:
    """The noise of that name with those parameters.

    Raises:
        InputError: unknown name or parameter, or a distribution without finite mean and variance.
    """
    if name not in _REGISTRY and name not in noise_names():
        raise unknown("noise", name, _REGISTRY)
    entry, params = _REGISTRY[name], dict(params or {})
    allowed = inspect.signature(entry.factory).parameters
    for key in params:
        if key not in allowed:
            raise InputError(f"noise {name!r} has no parameter {key!r}; it has: {', '.join(allowed) or 'none'}")
    missing = [key for key, p in allowed.items() if p.default is inspect.Parameter.empty and key not in params]
    if missing:
        raise InputError(f"noise {name!r} needs the parameter {missing[0]!r}")
    try:
        base = entry.factory(**params)
    except ValueError as error:  # torch.distributions' own argument validation
        raise InputError(f"noise {name!r} does not accept {params}: {error}") from error
    mean, variance = float(base.distribution.mean), float(base.distribution.variance)
    if not (math.isfinite(mean) and math.isfinite(variance) and variance > 0):
        raise InputError(
            f"noise {name!r} with {params} has mean {mean} and variance {variance}; diffusion noise needs a finite "
            "mean and a finite, positive variance (Theorem 1)"
        )
    if base.draw is None and type(base.distribution).icdf is Distribution.icdf:
        raise InputError(f"noise {name!r}: {type(base.distribution).__name__} has no icdf; register it with a `draw`")
    shift, scale = (mean, 1.0 / math.sqrt(variance)) if entry.standardise else (0.0, 1.0)
    return Noise(
        name=name,
        params=params,
        mean=(mean - shift) * scale,
        variance=variance * scale**2,
        skewness=base.skewness,
        excess_kurtosis=base.excess_kurtosis,
        base=base,
        shift=shift,
        scale=scale,
    )


def _real(value: float) -> Tensor:
    """Distribution parameters in float64, so that `icdf` of float64 uniforms stays float64."""
    return torch.tensor(value, dtype=torch.float64)


def _randn(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    return torch.randn(tuple(shape), generator=generator, device=device)


@register("gaussian")
def gaussian() -> Base:
    return Base(Normal(_real(0.0), _real(1.0)), skewness=0.0, excess_kurtosis=0.0, draw=_randn)


@register("laplace")
def laplace() -> Base:
    return Base(Laplace(_real(0.0), _real(1.0)), skewness=0.0, excess_kurtosis=3.0)


@register("exponential")
def exponential() -> Base:
    """Exponential(1) - 1."""
    return Base(Exponential(_real(1.0)), skewness=2.0, excess_kurtosis=6.0)


@register("exponential_uncentred", standardise=False)
def exponential_uncentred() -> Base:
    """Exponential(1), mean 1: what the paper's public code draws. Kept for the record; it breaks Theorem 1."""
    return exponential()


@register("uniform")
def uniform() -> Base:
    """Uniform(-sqrt(3), sqrt(3))."""
    return Base(Uniform(_real(-1.0), _real(1.0)), skewness=0.0, excess_kurtosis=-1.2)


@register("gumbel")
def gumbel() -> Base:
    """Gumbel (of maxima), shifted by Euler's constant and scaled by sqrt(6)/pi."""
    return Base(
        Gumbel(_real(0.0), _real(1.0)),
        skewness=12.0 * math.sqrt(6.0) * ZETA_3 / math.pi**3,
        excess_kurtosis=2.4,
    )
