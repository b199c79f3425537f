"""Noise whose colour changes with the noise level: one spectrum at high noise, another at low noise.

Why only the colour: the flow needs E[dn_t/dt | x_t] beside E[n_t | x_t]. If n_t = L_t m with one m for all t, then
dn_t/dt = L_t' L_t^-1 n_t: a linear function of n_t, so the predicted noise gives it, for every law of m. For a blend
n_t = sqrt(1 - w) m_1 + sqrt(w) m_2 of independent noise it is another combination of m_1 and m_2, whose conditional
mean does not follow from that of n_t, unless both are Gaussian; then n_t has the same law as L_t m. A change of the law
of the elements (n_t = F_t(m), F_t not linear) has the same fault.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ngldm.io.device import copied_once, in_float64
from ngldm.io.errors import InputError
from ngldm.noise.law import JointLaw, Law
from ngldm.noise.laws.coloured import GAUSSIAN
from ngldm.noise.laws.filtered import Filtered, spectrum_of
from ngldm.noise.parameters import number
from ngldm.noise.registry import make_part, register

PINK: Mapping[str, object] = {"distribution": "power_law", "beta": 1.0}


class Annealed(JointLaw):
    """n = L_w m with L_w L_w^T = (1 - w) Sigma_first + w Sigma_second, where w goes from 0 to 1 with lambda.

    m has uncorrelated elements, of the law that both noises are filtered from.

    lambda = log(a / b) of x_t = a x_0 + b n. As m is the same at all t of an image, the predicted noise at t gives that
    at s: L_s L_t^-1 eps_hat (`carry`). `sample` draws the law of pure noise, w = 0.
    """

    axes = 3

    def __init__(self, first: Law, second: Law, centre: float, width: float) -> None:
        for key, law in (("first", first), ("second", second)):
            if isinstance(law, Annealed):
                raise InputError(f"{key}: the law of {law.name!r} changes with t itself; choose one that does not")
            if law.traits.correlated and not isinstance(law, Filtered):
                raise InputError(f"{key}: {law.name!r} has no spectrum; choose a filtered or an uncorrelated noise")
        self.first, self.second, self.centre, self.width = first, second, centre, width
        self.base, other = (law.base if isinstance(law, Filtered) else law for law in (first, second))
        if (self.base.name, self.base.params) != (other.name, other.params):
            raise InputError(
                f"second: is {_described(other)} filtered, first is {_described(self.base)} filtered; only the colour "
                "can change with t: the predicted noise of a blend at one t does not give that at another"
            )
        if abs(self.base.mean) > 1e-9:
            raise InputError(f"first: {self.base.name!r} has mean {self.base.mean:g}; it must have mean 0")
        self.second_moment = self.base.second_moment
        self.powers: dict[tuple[int, ...], Callable[[torch.device], tuple[Tensor, ...]]] = {}
        self.traits = replace(self.base.traits, correlated=True, closed_under_sums=False, needs="unknown")

    def check_item(self, item: Sequence[int]) -> None:
        super().check_item(item)
        for law in (self.first, self.second):
            law.check_item(item)

    def at(self, lambdas: Tensor) -> Tensor:
        """The weight w of `second` at lambda = log(a / b): a logistic function of it."""
        return torch.sigmoid((lambdas - self.centre) / self.width)

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device, *, stein: bool
    ) -> tuple[Tensor, None]:
        return self.sample_at(shape, torch.zeros(shape[0], device=device), generator), None

    def sample_at(self, shape: Sequence[int], weight: Tensor, generator: torch.Generator | None) -> Tensor:
        """Noise (B, *item), float32, at the weights (B,) of `second`, on their device."""
        m = self.base.sample(shape, generator, weight.device)
        return self._filter(m, self._gain(weight, shape))

    def carry(self, eps: Tensor, weight_t: Tensor, weight_s: Tensor) -> Tensor:
        """L_s L_t^-1 eps: the noise (B, *item) of x_t as that of x_s; the weights are (B,)."""
        return self._filter(eps, self._gain(weight_s, eps.shape) / self._gain(weight_t, eps.shape))

    def _gain(self, weight: Tensor, shape: Sequence[int]) -> Tensor:
        """(B, 1, ..., h, w // 2 + 1) float64: the factor of each frequency of rfft2."""
        self.check_item(shape[1:])
        item = tuple(shape[1:])
        if item not in self.powers:
            powers = [spectrum_of(law, item) for law in (self.first, self.second)]
            self.powers[item] = copied_once(*(p[:, : item[-1] // 2 + 1] for p in powers if p is not None))
        w = in_float64(weight).reshape(-1, *[1] * len(item))
        first, second = self.powers[item](w.device)
        return ((1.0 - w) * first + w * second).sqrt()

    @staticmethod
    def _filter(x: Tensor, gain: Tensor) -> Tensor:
        filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * gain.to(x.device, x.dtype), s=x.shape[-2:])
        return filtered

    def colour(self, z: Tensor) -> Tensor:
        raise InputError(f"noise {self.name!r}: its correlation changes with t, so it has no single filter")


def _described(law: Law) -> str:
    return f"{law.name!r} {dict(law.params) or ''}".rstrip()


@register("annealed")
def annealed(
    first: Mapping[str, object] = PINK,
    second: Mapping[str, object] = GAUSSIAN,
    centre: float = 0.0,
    width: float = 1.0,
) -> JointLaw:
    """Noise that goes from the spectrum of `first` (high noise) to that of `second` at lambda `centre`.

    Both must be one noise, filtered or as it is: Gaussian, or the same `base` with the same parameters. `width` > 0 is
    the range of lambda = log(a / b) that the change takes. Huang et al. (SIGGRAPH 2024) anneal blue noise so, without
    unit energy in between.
    """
    centre, width = number("centre", centre), number("width", width, 0.0)
    return Annealed(make_part("first", first), make_part("second", second), centre, width)
