"""What a noise is: a distribution, its exact moments, and draws of it brought to mean 0 and variance 1.

`Base` is the distribution at any location and scale, as it is registered. `Noise` is the same standardised.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform

from ngldm.io.device import in_float64
from ngldm.io.errors import InputError
from ngldm.noise.stein_kernel import tabulated
from ngldm.noise.traits import Needs, Traits

Draw = Callable[[Sequence[int], torch.Generator | None, torch.device], Tensor]  # shape, generator, device -> draws
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Base:
    """A distribution before standardising.

    Attributes:
        distribution: gives mean, variance, `icdf` and `log_prob` where it has them.
        skewness, excess_kurtosis: exact; inf or nan where they do not exist. Standardising does not change them.
        draw: draw(shape, generator, device). Without it, `icdf` of uniform numbers is drawn; give it where that is
            slower or there is no `icdf`.
        mean, variance, icdf, log_prob: used instead of the distribution's, or where there is no `distribution`.
        discrete: takes countably many values; `log_prob` is then the log of their probabilities.
        stein: the Stein kernel (`ngldm.noise.stein_kernel`) of the density, a function of a float64 draw, where it has
            a closed form; else it is tabulated from `log_prob`.
        support: the open interval of a density. Rounding a draw may carry it to an end or beyond; it is put back to the
            nearest number inside.
    """

    distribution: Distribution | None = None
    skewness: float = math.nan
    excess_kurtosis: float = math.nan
    draw: Draw | None = None
    mean: float | None = None
    variance: float | None = None
    icdf: Function | None = None
    log_prob: Function | None = None
    stein: Function | None = None
    discrete: bool = False
    support: tuple[float, float] = (-math.inf, math.inf)
    copies: dict[torch.device, Distribution] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        """`icdf` or `log_prob`: the one declared here, else the distribution's; None if there is neither."""
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
        """The distribution's; -inf outside its support, where torch raises an error or gives nan."""
        assert self.distribution is not None
        if x.device not in self.copies:
            with torch.inference_mode(False):  # `score` differentiates the copy that sampling may have made
                self.copies[x.device] = cast(Distribution, _moved(self.distribution, x.device, {}))
        distribution = self.copies[x.device]
        support = distribution.support
        assert support is not None
        return inside(x, support.check(x), distribution.log_prob, distribution.mean)


def _moved(value: object, device: torch.device, done: dict[int, object]) -> object:
    """A copy of a distribution with its numbers on a device, which does not check what it is given.

    A check makes the CPU wait for a GPU.

    Args:
        done: the copies so far, by the `id` of what they were made from: a transform and its inverse name each other.
    """
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list):
        return [_moved(part, device, done) for part in value]
    if not isinstance(value, Distribution | Transform):
        return value
    if id(value) not in done:
        done[id(value)] = moved = copy(value)
        vars(moved).update({key: _moved(part, device, done) for key, part in vars(value).items()})
        if isinstance(moved, Distribution):
            vars(moved)["_validate_args"] = False
    return done[id(value)]


@dataclass(frozen=True)
class Noise:
    """A noise distribution: its name and parameters, its exact moments, and how to draw from it.

    Attributes:
        name: name in the registry.
        params: the parameters that it was made with, e.g. {"df": 5.0}.
        mean, variance: 0 and 1; only `exponential_uncentred` has mean 1.
        skewness, excess_kurtosis: standardised third and fourth moments (a Gaussian has 0 and 0).
        base: the distribution before standardising; a draw x of it becomes (x - shift) * scale.
    """

    name: str
    params: Mapping[str, object]
    mean: float
    variance: float
    skewness: float
    excess_kurtosis: float
    base: Base = field(repr=False)
    shift: float = field(repr=False)
    scale: float = field(repr=False)
    edges: dict[torch.dtype, tuple[float, float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def support(self) -> tuple[float, float]:
        """The open interval of the standardised density."""
        low, high = self.base.support
        return (low - self.shift) * self.scale, (high - self.shift) * self.scale

    @property
    def second_moment(self) -> float:
        """E[n^2]: 1, but 2 for `exponential_uncentred`."""
        return self.variance + self.mean**2

    @property
    def marginal(self) -> "Noise":
        """The law of one element: this one."""
        return self

    @cached_property
    def traits(self) -> Traits:
        """What samplers ask of a noise; see `Traits`."""
        gaussian = self.name == "gaussian"
        return Traits(
            shared=False,
            correlated=False,
            symmetric=self._is_symmetric(),
            gaussian=gaussian,
            closed_under_sums=gaussian,
            needs=self._needs(),
        )

    def _needs(self) -> Needs:
        """From what K_bar follows. The kernel of a density is a function of n, and linear in n for gamma."""
        if self.name in ("gaussian", "gamma", "exponential"):
            return "nothing" if self.name == "gaussian" else "eps"
        density = self.base.function("log_prob") is not None and not self.base.discrete
        return "element" if density and abs(self.mean) < 1e-9 else "unknown"

    def _is_symmetric(self) -> bool:
        """Whether the density is even on a grid; without a density, whether the skewness is 0."""
        if self.base.function("log_prob") is None:
            return self.skewness == 0.0
        x = torch.linspace(0.01, 6.0, 600, dtype=torch.float64)
        return torch.allclose(self.log_prob(x).exp(), self.log_prob(-x).exp(), rtol=1e-6, atol=1e-12)

    def check_item(self, item: Sequence[int]) -> None:
        """Every shape of items has independent elements: nothing to refuse."""

    def k_bar(self, eps_hat: Tensor) -> Tensor:
        """K_bar = E[K | x_t] from the predicted noise, clipped at 0.

        It is 1 for the Gaussian. The Stein kernel of Gamma(k), standardised, is K(n) = 1 + n / sqrt(k) (Stein 1986),
        and its skewness is 2 / sqrt(k), so K_bar is 1 + eps_hat skewness / 2.

        Raises:
            InputError: it does not follow from the predicted noise for this distribution.
        """
        if self.traits.needs not in ("nothing", "eps"):
            raise InputError(f"noise {self.name!r}: K_bar does not follow from the predicted noise")
        return (1.0 + 0.5 * self.skewness * eps_hat).clamp(min=0.0)

    def colour(self, z: Tensor) -> Tensor:
        """White noise with this noise's correlation, which it does not have: z."""
        return z

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
            device, dtype: of the result. Numbers are drawn in float64 or float32 and then rounded to `dtype`, so that
                bfloat16 noise has the tails of float32 noise.
        """
        x = self.draw(shape, generator, torch.device(device))
        if (self.shift, self.scale) != (0.0, 1.0):
            x = (x - self.shift) * self.scale
        x = x.to(dtype)
        if self.base.support == (-math.inf, math.inf):
            return x
        if dtype not in self.edges:
            self.edges[dtype] = (self._edge(0, dtype), self._edge(1, dtype))
        low, high = self.edges[dtype]
        return x.clamp(low, high)

    def draw(self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Independent draws before standardising, float64 or float32."""
        return (self.base.draw or self._invert)(shape, generator, device)

    def _edge(self, side: int, dtype: torch.dtype) -> float:
        """The first number of that type inside the support, from below (side 0) or above (1), as `log_prob` sees it."""
        end, inward = self.base.support[side], torch.tensor((math.inf, -math.inf)[side], dtype=dtype)
        if math.isinf(end):
            return end
        value = torch.tensor(self.support[side], dtype=dtype)
        while not (self._raw(value) - end) * (1.0, -1.0)[side] > 0.0:
            value = torch.nextafter(value, inward)
        return float(value)

    def _raw(self, x: Tensor) -> Tensor:
        """Before standardising, in float64: at an end of the support, float32 would be outside."""
        return in_float64(x) / self.scale + self.shift

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
        """Quantiles of the standardised distribution.

        Args:
            u: probabilities in (0, 1), float64 for accuracy in the tails.

        Raises:
            InputError: this distribution has none in closed form.
        """
        return (self._function("icdf")(u) - self.shift) * self.scale

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of the standardised distribution; -inf outside the support. Of a discrete one: log probability.

        Raises:
            InputError: this distribution has none in closed form.
        """
        found, raw = self._function("log_prob"), self._raw(x)
        if not self.base.discrete:
            return (found(raw) - math.log(self.scale)).to(x.device, x.dtype)
        whole = raw.round()  # standardising and back costs a rounding error, which would miss every value
        rounding = torch.finfo(x.dtype).eps * (raw.abs() + abs(self.shift))
        return torch.where((raw - whole).abs() < 1e-4 + rounding, found(whole), -torch.inf).to(x.device, x.dtype)

    def score(self, x: Tensor) -> Tensor:
        """The derivative of `log_prob` at x, which must lie inside the support. At a symmetric kink or cusp it is 0.

        Raises:
            InputError: the noise is discrete, or has no log density in closed form.
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

    @cached_property
    def _kernel(self) -> Function:
        """The Stein kernel as a function of a standardised float64 draw inside the support."""
        if (own := self.base.stein) is not None:
            return lambda n: self.scale**2 * own(self._raw(n))
        with torch.inference_mode(False):  # likewise the table
            return tabulated(self.log_prob, self.support)

    def stein(self, n: Tensor) -> Tensor:
        """The Stein kernel K(n) >= 0 of the standardised density: E[n f(n)] = E[K(n) f'(n)], and E[K(n)] = 1.

        Outside the support it is that of the support's end.

        Raises:
            InputError: the noise is discrete, its mean is not 0, or it has no log density in closed form.
        """
        if self.base.discrete:
            raise InputError(f"noise {self.name!r} is discrete: it has no density and no Stein kernel")
        if abs(self.mean) > 1e-9:
            raise InputError(f"noise {self.name!r} has mean {self.mean:g}; a Stein kernel is used with mean 0 only")
        low, high = self._edge(0, torch.float64), self._edge(1, torch.float64)
        return self._kernel(in_float64(n).clamp(low, high)).clamp(min=0.0).to(n.device, n.dtype)


def inside(x: Tensor, where: Tensor, log_prob: Function, anywhere: float | Tensor) -> Tensor:
    """`log_prob(x)` where `where` is true, -inf elsewhere.

    Elsewhere `log_prob` is asked at `anywhere`, a point of the support: nan there would spoil the gradient.
    """
    return torch.where(where, log_prob(torch.where(where, x, anywhere)), -torch.inf)


def uniform_draw(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Float64 uniform draws strictly inside (0, 1).

    A float32 uniform number has 24 bits. Through `icdf` no exponential draw would exceed 17, and one in 16 million
    would be infinite, because the uniform number is 0.
    """
    u = torch.rand(tuple(shape), generator=generator, device=device, dtype=torch.float64)
    return u.clamp_(2.0**-54, 1.0 - 2.0**-53)


def real(value: float) -> Tensor:
    """A parameter of a torch distribution in float64, so that `icdf` of float64 numbers stays float64."""
    return torch.tensor(value, dtype=torch.float64)
