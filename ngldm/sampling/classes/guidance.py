"""Guidance: a prediction that is moved away from that of a network which does not know the class.

    x_0 = u + scale (c - u)

with c predicted for the class and u without one (Ho and Salimans 2022). It wraps the denoiser: no training changes, and
every sampler, schedule and noise law takes it. The targets x_0, eps, v and u are linear in each other at a given x_t,
so this is the same guidance for every objective.

The guided denoiser is not the conditional mean of any law of the data, so no sampler is exact with it: what is drawn
is nearer to the modes of the class than the data are. K_bar, which the sampler `stein` needs, stays that of the
conditional prediction: it is a property of the noise given x_t and the class, and need not be moved to sharpen x_0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ngldm.diffusion.preconditioning import Network
from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError, require_real
from ngldm.sampling.names import require_fraction

TINY = 1e-12  # a deviation is not divided by less


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance.

    Attributes:
        unconditional: network(x_t, t) without a class, which predicts the same objective.
        scale: at least 0. 0 is the unconditional model, 1 the conditional one, more than 1 is guidance.
        rescale: in [0, 1]: how far x_0 gets back the standard deviation over an image's elements that the conditional
            prediction has (Lin et al. 2024, equations 15 and 16, taken for x_0, so that it means the same for every
            objective).
        sigma_min, sigma_max: guidance where sigma_min < b_t / a_t <= sigma_max, in standard deviations of the latents;
            elsewhere the conditional model (Kynkaanniemi et al. 2024).

    Raises:
        InputError: a number is out of range, or the interval is empty.
    """

    unconditional: Network
    scale: float
    rescale: float = 0.0
    sigma_min: float = 0.0
    sigma_max: float = math.inf

    def __post_init__(self) -> None:
        if not 0.0 <= require_real("guidance_scale", self.scale) < math.inf:
            raise InputError(f"guidance_scale: {self.scale} must be at least 0 and finite")
        require_fraction("guidance_rescale", require_real("guidance_rescale", self.rescale))
        low, high = (require_real(f"guidance_{key}", getattr(self, key)) for key in ("sigma_min", "sigma_max"))
        if not 0.0 <= low < high:
            raise InputError(
                f"guidance_sigma_min, guidance_sigma_max: {low:g} and {high:g}, an empty interval; "
                "they must be at least 0, and the second above the first"
            )

    def applies(self, schedule: Schedule, t: int) -> bool:
        """Whether the noise level of t lies in the interval. Where a_t = 0, it is infinite."""
        return self.scale != 1.0 and self.sigma_min < sigma(schedule, t) <= self.sigma_max

    def require_used(self, schedule: Schedule, timesteps: Sequence[int]) -> None:
        """Check that some timestep of a sampler lies in the interval.

        Raises:
            InputError: none does, so that the images would be those without guidance.
        """
        if self.scale != 1.0 and not any(self.applies(schedule, t) for t in timesteps):
            first, last = (sigma(schedule, t) for t in (timesteps[0], timesteps[-1]))
            raise InputError(
                f"guidance_sigma_min, guidance_sigma_max: no step lies between {self.sigma_min:g} and "
                f"{self.sigma_max:g}; the steps have the noise levels {first:.3g} to {last:.3g}"
            )

    def require_elements(self, shape: Sequence[int]) -> None:
        """Check that the latents (`shape`, of one item) have a standard deviation, if `rescale` needs it.

        Raises:
            InputError: they have a single element, as points of one column.
        """
        if self.rescale and math.prod(shape) < 2:
            raise InputError(
                f"guidance_rescale: {self.rescale} needs latents of at least 2 elements: a single number, as a "
                "point of one column, has no standard deviation; leave it out"
            )

    def __call__(self, conditional: Tensor, unconditional: Tensor) -> Tensor:
        """The guided x_0 (B, ...) from two predictions of x_0; `rescale` needs at least two elements of each item."""
        guided = unconditional + self.scale * (conditional - unconditional)
        if not self.rescale:
            return guided
        wanted, found = (_deviation(x0) for x0 in (conditional, guided))
        return guided * (1.0 - self.rescale + self.rescale * wanted / found.clamp(min=TINY))


def sigma(schedule: Schedule, t: int) -> float:
    """The noise level b_t / a_t, in standard deviations of the latents; inf where a_t = 0."""
    signal, noise = float(schedule.signal[t]), float(schedule.noise[t])
    return noise / signal if signal > 0.0 else math.inf


def _deviation(x0: Tensor) -> Tensor:
    """The standard deviation over the elements of each image: (B, 1, ...)."""
    return x0.std(dim=tuple(range(1, x0.ndim)), keepdim=True)
