"""The registry of noise laws: a name and parameters in, a `Law` of mean 0 and unit energy out.

A distribution of single elements is registered by a decorated function that returns a `Base`: a `torch.distributions`
object, at any location and scale, or moments and a way to draw. `make_noise` standardises it, which makes noises
comparable (the paper's Theorem 1), and checks its draws against its declared moments. A law of whole images is
registered by a function that returns a `JointLaw`, which has unit energy by its own construction.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from ngldm.io.errors import InputError, unknown
from ngldm.io.limits import MAX_DRAWS, require_shallow
from ngldm.io.registry import check_parameters, load_entry_points, require_free, require_registrable
from ngldm.noise.check import check_draws
from ngldm.noise.distribution import Base, Noise
from ngldm.noise.law import JointLaw, Law

ENTRY_POINT_GROUP = "ngldm.noises"
NO_MEAN = ("cauchy", "half_cauchy", "levy")  # known laws that are refused with the reason
Factory = Callable[..., Base | JointLaw]
Own = TypeVar("Own", bound=Factory)


@dataclass(frozen=True)
class Entry:
    """A registered distribution.

    Attributes:
        factory: makes the distribution from its parameters.
        standardise: whether mean and variance are brought to 0 and 1.
        checked: the parameters whose draws were checked already.
    """

    factory: Factory
    standardise: bool
    checked: set[str] = field(default_factory=set)


REGISTRY: dict[str, Entry] = {}


def register(name: str, *, standardise: bool = True) -> Callable[[Own], Own]:
    """Decorator: make a distribution known under `name`. The function's arguments are its parameters.

    Registering a function again replaces it, so that a notebook's cell can be run twice.

    Args:
        standardise: subtract the mean and divide by the standard deviation. False keeps the distribution as it
            is, which no fair comparison may use; it exists for the paper's uncentred exponential.

    Raises:
        InputError: `name` is not a name, or it belongs to another function.
    """

    require_registrable(name)

    def decorate(factory: Own) -> Own:
        known = REGISTRY.get(name)
        require_free("noise", name, known.factory if known else None, factory)
        REGISTRY[name] = Entry(factory, standardise)
        return factory

    return decorate


def noise_names() -> list[str]:
    """All registered names, sorted; those of installed entry points included.

    Raises:
        InputError: an entry point cannot be imported.
    """
    load_entry_points(ENTRY_POINT_GROUP)
    return sorted(REGISTRY)


def noise_factory(name: str) -> Factory:
    """The function that was registered under a name; its docstring and parameters describe the distribution.

    Raises:
        InputError: on an unknown name.
    """
    return _find(name).factory


@torch.inference_mode(False)  # a noise that is made for sampling must serve a training too
def make_noise(name: str, params: Mapping[str, object] | None = None) -> Law:
    """The noise of that name with those parameters.

    Raises:
        InputError: on an unknown name or parameter, a distribution without finite mean and variance, or draws that
            contradict the declared moments.
    """
    if not isinstance(params, Mapping | None):
        raise InputError(f"noise {name!r}: {params!r} is no mapping from parameter to value")
    _require_few_draws(name, params or {})
    entry, params = _find(name), deepcopy(dict(params or {}))
    made = _call(name, entry.factory, params)
    return made.named(name, params) if isinstance(made, JointLaw) else _standardise(name, params, made, entry)


def _require_few_draws(name: str, params: Mapping[str, object]) -> None:
    """Check how many draws each value of a noise needs that is made of other noises.

    Raises:
        InputError: too many, or noises inside each other without end.
    """
    require_shallow(f"noise {name!r}", params)
    if (draws := _draws({"distribution": name, **params})) > MAX_DRAWS:
        raise InputError(f"noise {name!r}: each value needs {draws:g} draws of the noises inside it, above {MAX_DRAWS}")


def _draws(options: object) -> float:
    if isinstance(options, Mapping):
        inner = sum(map(_draws, options.values()))
        times = options.get("n", 1) if options.get("distribution") == "averaged" else 1
        own = float(times) if isinstance(times, int) and 0 < times <= MAX_DRAWS else 1.0  # the noise checks its n
        return own * max(inner, 1.0) if isinstance(options.get("distribution"), str) else inner
    return sum(map(_draws, options)) if isinstance(options, list | tuple) else 0.0


def make_iid(name: str, params: Mapping[str, object] | None = None) -> Noise:
    """As `make_noise`, for a noise whose elements are independent.

    Raises:
        InputError: as `make_noise`, or the noise is a law of whole images.
    """
    return _require_iid(make_noise(name, params))


def make_part(key: str, options: object) -> Law:
    """The noise that a parameter describes as params.yaml does: {distribution: <name>, <its parameters>}.

    Args:
        key: the parameter's name, for the error message.

    Raises:
        InputError: it describes none.
    """
    if not isinstance(options, Mapping) or not isinstance(options.get("distribution"), str):
        raise InputError(f"{key}: {options!r} must be a mapping with `distribution` and that one's parameters")
    try:
        return make_noise(options["distribution"], {k: v for k, v in options.items() if k != "distribution"})
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def make_iid_part(key: str, options: object) -> Noise:
    """As `make_part`, for a noise whose elements are independent.

    Raises:
        InputError: it describes none, or a law of whole images.
    """
    return _require_iid(make_part(key, options), f"{key}: ")


def _require_iid(law: Law, where: str = "") -> Noise:
    if not isinstance(law, Noise):
        raise InputError(f"{where}noise {law.name!r} is a law of whole images; here the elements must be independent")
    return law


def _standardise(name: str, params: Mapping[str, object], base: Base, entry: Entry) -> Noise:
    """The noise of a base, of mean 0 and variance 1, checked once."""
    mean, variance = _moments(name, params, base)
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
        if name in NO_MEAN:
            raise InputError(
                f"noise {name!r}: its mean does not exist or is infinite, but the network learns means. With "
                "a mean: student_t (df above 2), multivariate_t (df above 1) and isotropic_stable (alpha above 1)"
            )
        raise unknown("noise", name, REGISTRY)
    return REGISTRY[name]


def _call(name: str, factory: Factory, params: Mapping[str, object]) -> Base | JointLaw:
    """What the function makes of the parameters."""
    check_parameters(f"noise {name!r}", inspect.signature(factory).parameters, params)
    with _explained(name, params):
        made = factory(**params)
        if not isinstance(made, Base | JointLaw):
            raise InputError(
                f"its function returns a {type(made).__name__}; it must be an ngldm.Base or an ngldm.noise.JointLaw"
            )
        return made


def _moments(name: str, params: Mapping[str, object], base: Base) -> tuple[float, float]:
    with _explained(name, params):
        return base.moments()


@contextmanager
def _explained(name: str, params: Mapping[str, object]) -> Iterator[None]:
    """Errors of a distribution's own code, as errors of its parameters."""
    try:
        yield
    except InputError as error:
        raise InputError(f"noise {name!r}: {error}") from error
    except ArithmeticError as error:
        raise InputError(f"noise {name!r}: the moments of {params} leave the range of float64: {error}") from error
    except (ValueError, TypeError) as error:  # torch.distributions' own argument validation
        raise InputError(f"noise {name!r} does not accept {params}: {error}") from error
