"""The registry of noise distributions, each standardised to mean 0 and variance 1 (Theorem 1's fair comparison).

A distribution is registered by a decorated function that returns a `Base`: a `torch.distributions` object, at any
location and scale, or moments and a way to draw. Standardising is done here.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from ngldm.io.errors import InputError, unknown
from ngldm.noise.check import check_moments, forget_checks
from ngldm.noise.distribution import Base, Noise

ENTRY_POINT_GROUP = "ngldm.noises"


@dataclass(frozen=True)
class _Entry:
    factory: Callable[..., Base]
    standardise: bool


_REGISTRY: dict[str, _Entry] = {}


def register(name: str, *, standardise: bool = True) -> Callable[[Callable[..., Base]], Callable[..., Base]]:
    """Decorator: make a distribution known under `name`. The function's arguments are its parameters.

    Registering a function again, as a notebook does whose cell runs twice, replaces it.

    Args:
        standardise: subtract the mean and divide by the standard deviation. False keeps the distribution as it
            is, which no fair comparison may use; it exists for the paper's uncentred exponential.

    Raises:
        InputError: another function has that name.
    """

    def decorate(factory: Callable[..., Base]) -> Callable[..., Base]:
        if name in _REGISTRY:
            known = _REGISTRY[name].factory
            if (known.__module__, known.__qualname__) != (factory.__module__, factory.__qualname__):
                raise InputError(
                    f"noise {name!r} is registered already, by {known.__module__}.{known.__qualname__}; "
                    "choose another name"
                )
            forget_checks(name)
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


def noise_factory(name: str) -> Callable[..., Base]:
    """The function that was registered under a name; its docstring and parameters describe the distribution.

    Raises:
        InputError: on an unknown name.
    """
    if name not in _REGISTRY and name not in noise_names():
        raise unknown("noise", name, _REGISTRY)
    return _REGISTRY[name].factory


def make_noise(name: str, params: Mapping[str, Any] | None = None) -> Noise:
    """The noise of that name with those parameters.

    Raises:
        InputError: unknown name or parameter, or a distribution without finite mean and variance.
    """
    if name not in _REGISTRY and name not in noise_names():
        raise unknown("noise", name, _REGISTRY)
    entry, params = _REGISTRY[name], deepcopy(dict(params or {}))
    allowed = inspect.signature(entry.factory).parameters
    for key in params:
        if key not in allowed:
            raise InputError(f"noise {name!r} has no parameter {key!r}; it has: {', '.join(allowed) or 'none'}")
    missing = [key for key, p in allowed.items() if p.default is inspect.Parameter.empty and key not in params]
    if missing:
        raise InputError(f"noise {name!r} needs the parameter {missing[0]!r}")
    try:
        base = entry.factory(**params)
        mean, variance = base.moments()
    except InputError as error:
        raise InputError(f"noise {name!r}: {error}") from error
    except (ValueError, TypeError) as error:  # torch.distributions' own argument validation
        raise InputError(f"noise {name!r} does not accept {params}: {error}") from error
    if not (math.isfinite(mean) and math.isfinite(variance) and variance > 0):
        raise InputError(
            f"noise {name!r} with {params} has mean {mean} and variance {variance}; diffusion noise needs a finite "
            "mean and a finite, positive variance (Theorem 1)"
        )
    if base.draw is None and base.function("icdf") is None:
        raise InputError(f"noise {name!r}: {type(base.distribution).__name__} has no icdf; register it with a `draw`")
    shift, scale = (mean, 1.0 / math.sqrt(variance)) if entry.standardise else (0.0, 1.0)
    noise = Noise(
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
    check_moments(noise)
    return noise
