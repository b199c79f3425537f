"""The registry of noise distributions: a name and parameters in, a `Noise` of mean 0 and variance 1 out.

A distribution is registered by a decorated function that returns a `Base`: a `torch.distributions` object, at any
location and scale, or moments and a way to draw. `make_noise` standardises it, which makes noises comparable (the
paper's Theorem 1), and checks its draws against its declared moments.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points

from ngldm.io.errors import InputError, unknown
from ngldm.noise.check import check_draws
from ngldm.noise.distribution import Base, Noise

ENTRY_POINT_GROUP = "ngldm.noises"


@dataclass(frozen=True)
class Entry:
    """A registered distribution.

    Attributes:
        factory: makes the distribution from its parameters.
        standardise: whether mean and variance are brought to 0 and 1.
        checked: the parameters whose draws were checked already.
    """

    factory: Callable[..., Base]
    standardise: bool
    checked: set[str] = field(default_factory=set)


REGISTRY: dict[str, Entry] = {}


def register(name: str, *, standardise: bool = True) -> Callable[[Callable[..., Base]], Callable[..., Base]]:
    """Decorator: make a distribution known under `name`. The function's arguments are its parameters.

    Registering a function again replaces it, so that a notebook's cell can be run twice.

    Args:
        standardise: subtract the mean and divide by the standard deviation. False keeps the distribution as it
            is, which no fair comparison may use; it exists for the paper's uncentred exponential.

    Raises:
        InputError: `name` is not a name, or it belongs to another function.
    """

    if not (isinstance(name, str) and name):
        raise InputError(f'register: {name!r} is not a name; write @register("<name>") above the function')

    def decorate(factory: Callable[..., Base]) -> Callable[..., Base]:
        if name in REGISTRY and not _is_again(known := REGISTRY[name].factory, factory):
            raise InputError(
                f"noise {name!r} is registered already, by {'.'.join(_address(known))}; choose another name"
            )
        REGISTRY[name] = Entry(factory, standardise)
        return factory

    return decorate


def _is_again(old: Callable[..., Base], new: Callable[..., Base]) -> bool:
    """Whether a function is the next version of an earlier one: of the same name, or both typed by the user."""
    notebook = _address(old)[0] == _address(new)[0] == "__main__"
    return notebook or _address(old) == _address(new)


def _address(factory: Callable[..., Base]) -> tuple[str, str]:
    """Module and name of a function, of the function that a partial calls, or of the type of an object with a call."""
    while isinstance(factory, partial):
        factory = factory.func
    return factory.__module__, getattr(factory, "__qualname__", type(factory).__qualname__)


def noise_names() -> list[str]:
    """All registered names, sorted; those of installed entry points included.

    Raises:
        InputError: an entry point cannot be imported.
    """
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry_point.load()
        except Exception as error:
            raise InputError(
                f"entry point {entry_point.name!r} of group {ENTRY_POINT_GROUP!r} ({entry_point.value}) "
                f"cannot be imported: {error}"
            ) from error
    return sorted(REGISTRY)


def noise_factory(name: str) -> Callable[..., Base]:
    """The function that was registered under a name; its docstring and parameters describe the distribution.

    Raises:
        InputError: on an unknown name.
    """
    return _find(name).factory


def make_noise(name: str, params: Mapping[str, object] | None = None) -> Noise:
    """The noise of that name with those parameters.

    Raises:
        InputError: on an unknown name or parameter, a distribution without finite mean and variance, or draws that
            contradict the declared moments.
    """
    if not isinstance(params, Mapping | None):
        raise InputError(f"noise {name!r}: {params!r} is no mapping from parameter to value")
    entry, params = _find(name), deepcopy(dict(params or {}))
    base, mean, variance = _make_base(name, entry.factory, params)
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
    if str(params) not in entry.checked:
        check_draws(noise)
        entry.checked.add(str(params))
    return noise


def _find(name: str) -> Entry:
    if not isinstance(name, str) or (name not in REGISTRY and name not in noise_names()):
        raise unknown("noise", name, REGISTRY)
    return REGISTRY[name]


def _make_base(name: str, factory: Callable[..., Base], params: Mapping[str, object]) -> tuple[Base, float, float]:
    """The distribution before standardising, its mean and its variance."""
    allowed = inspect.signature(factory).parameters
    for key in params:
        if key not in allowed:
            raise InputError(f"noise {name!r} has no parameter {key!r}; it has: {', '.join(allowed) or 'none'}")
    missing = [key for key, p in allowed.items() if p.default is inspect.Parameter.empty and key not in params]
    if missing:
        raise InputError(f"noise {name!r} needs the parameter {missing[0]!r}")
    try:
        base = factory(**params)
        if not isinstance(base, Base):
            raise InputError(f"its function returns a {type(base).__name__}; it must be an ngldm.Base")
        return base, *base.moments()
    except InputError as error:
        raise InputError(f"noise {name!r}: {error}") from error
    except ArithmeticError as error:
        raise InputError(f"noise {name!r}: the moments of {params} leave the range of float64: {error}") from error
    except (ValueError, TypeError) as error:  # torch.distributions' own argument validation
        raise InputError(f"noise {name!r} does not accept {params}: {error}") from error
