"""The registry of noise distributions, each standardised to mean 0 and variance 1 (Theorem 1's fair comparison).

A distribution is registered by a decorated function that returns a `Base`: a `torch.distributions` object, at any
location and scale, or moments and a way to draw. Standardising is done here.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ngldm.errors import InputError, unknown

Draw = Callable[[Sequence[int], torch.Generator | None, torch.device], Tensor]
Function = Callable[[Tensor], Tensor]
ENTRY_POINT_GROUP = "ngldm.noises"
CHECK_DRAWS = 2**14
CHECK_ERRORS = 7.0  # standard errors by which sampled moments may differ from the declared ones
CHECK_CUT = 30.0  # deviations
CHECK_KURTOSIS = 10.0  # above, a sample's third and fourth moments say too little


@dataclass(frozen=True)
class Base:
    """A distribution before standardising, and the moments that standardising keeps.

    Attributes:
        distribution: gives mean, variance, `icdf` and `log_prob` where it has them.
        skewness, excess_kurtosis: exact; inf or nan where they do not exist.
        draw: draw(shape, generator, device), instead of inverting the distribution function, where that is faster or
            there is no `icdf`.
        mean, variance, icdf, log_prob: in place of the distribution's, or without one.
        discrete: takes countably many values; `log_prob` is then the log of their probabilities.
    """

    distribution: Distribution | None = None
    skewness: float = math.nan
    excess_kurtosis: float = math.nan
    draw: Draw | None = None
    mean: float | None = None
    variance: float | None = None
    icdf: Function | None = None
    log_prob: Function | None = None
    discrete: bool = False

    def moments(self) -> tuple[float, float]:
        """Mean and variance.

        Raises:
            InputError: neither declared nor known to the distribution.
        """
        values = []
        for key in ("mean", "variance"):
            value = getattr(self, key)
            if value is None and self.distribution is not None:
                value = getattr(self.distribution, key)
            if value is None:
                raise InputError(f"registered without a {key}")
            values.append(float(value))
        return values[0], values[1]

    def function(self, name: str) -> Function | None:
        """`icdf` or `log_prob`, own or the distribution's, if there is one."""
        own: Function | None = getattr(self, name)
        if own is not None or self.distribution is None:
            return own
        if getattr(type(self.distribution), name) is getattr(Distribution, name):
            return None
        if name == "log_prob":
            return self._log_prob
        found: Function = getattr(self.distribution, name)
        return found

    def _log_prob(self, x: Tensor) -> Tensor:
        """The distribution's, -inf outside its support, where torch raises or answers nan."""
        assert self.distribution is not None
        support: Any = self.distribution.support
        return inside(x, support.check(x), self.distribution.log_prob, self.distribution.mean)


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
    params: Mapping[str, Any]
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
        icdf = self.base.function("icdf")
        assert icdf is not None  # make_noise refuses a noise without draw and icdf
        return icdf(uniform_draw(shape, generator, device))

    def _function(self, name: str) -> Function:
        found = self.base.function(name)
        if found is None:
            raise InputError(f"noise {self.name!r} has no {name} in closed form")
        return found

    def icdf(self, u: Tensor) -> Tensor:
        """Quantiles of the standardised distribution; u in (0, 1).

        Raises:
            InputError: this distribution has none in closed form.
        """
        return (self._function("icdf")(u) - self.shift) * self.scale

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of the standardised distribution (of a discrete one: log probability); -inf outside the support.

        Raises:
            InputError: this distribution has none in closed form.
        """
        found, raw = self._function("log_prob"), x / self.scale + self.shift
        if not self.base.discrete:
            return found(raw) - math.log(self.scale)
        whole = raw.round()  # standardising and back costs a rounding error, which would miss every value
        return torch.where((raw - whole).abs() < 1e-4, found(whole), -torch.inf)

    def score(self, x: Tensor) -> Tensor:
        """d log_prob / dx, inside the support.

        Raises:
            InputError: there is no density.
        """
        if self.base.discrete:
            raise InputError(f"noise {self.name!r} is discrete: it has no density and no score")
        with torch.inference_mode(False), torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            log_density = self.log_prob(at)
            if not log_density.requires_grad:  # a flat density, such as the uniform's
                return torch.zeros_like(at)
            (gradient,) = torch.autograd.grad(log_density.sum(), at)
        return gradient


def inside(x: Tensor, where: Tensor, log_prob: Function, anywhere: float | Tensor) -> Tensor:
    """`log_prob` where `where`, -inf elsewhere; `anywhere` in the support keeps nan out of the gradient."""
    return torch.where(where, log_prob(torch.where(where, x, anywhere)), -torch.inf)


def uniform_draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Float64 uniform draws strictly inside (0, 1).

    In float32 a uniform number has 24 bits, which cuts an exponential tail at 17 and reaches 0 often enough that an
    infinite draw would come once in 16 million.
    """
    u = torch.rand(tuple(shape), generator=generator, device=device, dtype=torch.float64)
    return u.clamp_(2.0**-54, 1.0 - 2.0**-53)


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
    _check_moments(noise)
    return noise


_CHECKED: set[str] = set()


def _check_moments(noise: Noise) -> None:
    """Refuse a noise whose draws contradict what it declares; once per name and parameters.

    Bounds are standard errors: of the mean; of the variance, sqrt((kurtosis + 2) / n), where the kurtosis is moderate,
    else of the variance cut at 30 deviations, which the whole one bounds from above; of the third and fourth moment by
    the sample's own spread, where the kurtosis is small enough for that to be known from these few draws. Draws that do
    not come from `icdf` are compared with it at some quantiles.
    """
    key = f"{noise.name} {noise.params}"
    if key in _CHECKED:
        return
    with torch.random.fork_rng(devices=[]):  # a `draw` may leave its generator aside and use the global one
        torch.manual_seed(0)
        x = noise.sample((CHECK_DRAWS,), torch.Generator().manual_seed(0), dtype=torch.float64)
    z, root, kurtosis = (x - noise.mean) / noise.variance**0.5, CHECK_DRAWS**0.5, noise.excess_kurtosis
    found = {}  # the variance first: where it is wrong, the mean's error is too
    if kurtosis <= 100.0:
        error = noise.variance * (max(kurtosis, -1.9) + 2.0) ** 0.5 / root
        found["variance"] = (float(x.var()), noise.variance, error)
    else:
        cut = noise.variance * z.square().clamp(max=CHECK_CUT**2)
        found["variance"] = (float(cut.mean()), noise.variance, float(cut.std()) / root)
    found["mean"] = (float(x.mean()), noise.mean, noise.variance**0.5 / root)
    if kurtosis <= CHECK_KURTOSIS:
        for order, moment, declared in ((3, "skewness", noise.skewness), (4, "excess_kurtosis", kurtosis)):
            power, normal = z**order, 3.0 * (order == 4)
            # What a tail has beyond the largest draw shows neither in the mean nor in its spread.
            unseen = (0.01 if order == 3 else 0.05) * max(kurtosis, 0.0)
            error = float(power.std()) / root + unseen
            found[moment] = (float(power.mean()) - normal, declared, error)
    for moment, (sampled, declared, error) in found.items():
        above = sampled - declared
        if moment == "variance" and not kurtosis <= 100.0:
            above = max(above, 0.0)
        if math.isfinite(declared) and not abs(above) <= CHECK_ERRORS * error + 1e-3:
            raise InputError(
                f"noise {noise.name!r}: {CHECK_DRAWS} draws have {moment} {sampled:.4f}, but the declared one "
                f"is {declared:.4f}: its draw or a declared moment is wrong"
            )
    if noise.base.draw is not None and noise.base.function("icdf") is not None:
        _check_quantiles(noise, x)
    _CHECKED.add(key)


def _check_quantiles(noise: Noise, x: Tensor) -> None:
    for u in (0.05, 0.25, 0.5, 0.75, 0.95):
        q = float(noise.icdf(torch.tensor(u, dtype=torch.float64)))
        slack = 1e-5 * max(1.0, abs(q))  # rounding must not decide on which side an atom lies
        below, until = (float((x <= q + side).double().mean()) for side in (-slack, slack))
        error = CHECK_ERRORS * (u * (1.0 - u) / CHECK_DRAWS) ** 0.5
        if below > u + error or until < u - error:
            raise InputError(
                f"noise {noise.name!r}: {until:.4f} of {CHECK_DRAWS} draws lie below the quantile {q:.4f} that its "
                f"icdf gives for {u}: its draw or its icdf is wrong"
            )
