"""Noise with correlated elements: n = L m, where L filters noise m along rows and columns, each channel alike.

L multiplies the Fourier series by sqrt(S), where S is a power spectrum of mean 1 (`ngldm.noise.laws.spectra`). On a
torus the noise has the same law at every pixel. With a fixed L, diffusion of x with n is diffusion of L^-1 x with m. So
compare a filtered noise with white noise whose schedule is moved (`white_shift`), not with white noise as it is.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.noise.law import JointLaw, Law
from ngldm.noise.laws import spectra
from ngldm.noise.laws.coloured import GAUSSIAN, Coloured
from ngldm.noise.laws.scale_mixtures import ScaleMixture
from ngldm.noise.laws.spectra import Spectrum, unit_power
from ngldm.noise.parameters import number
from ngldm.noise.registry import make_part, register

LOW_BAND = 0.125  # cycles per pixel: structure of 8 pixels and more


class Filtered(Coloured):
    """Noise of a law with uncorrelated elements, filtered to a spectrum.

    Args:
        spectrum: see `ngldm.noise.laws.spectra`.
        base: the law of the noise that is filtered.
    """

    axes = 3

    def __init__(self, spectrum: Spectrum, base: Law) -> None:
        super().__init__(base)
        self.spectrum = spectrum
        self.marginal = base.marginal if base.traits.gaussian or isinstance(base, ScaleMixture) else None
        self.powers: dict[tuple[int, int], Tensor] = {}
        self.gains: dict[tuple[int, int, float, torch.device, torch.dtype], Tensor] = {}

    def check_item(self, item: Sequence[int]) -> None:
        super().check_item(item)
        self.power(item)

    def power(self, item: Sequence[int]) -> Tensor:
        """The power spectrum of items (..., h, w): (h, w) float64 of mean 1.

        Raises:
            InputError: it is 0 or not finite somewhere, or the filter has no effect at this size.
        """
        h, w = item[-2:]
        if (h, w) not in self.powers:
            try:
                self.powers[h, w] = unit_power(self.spectrum, h, w)
            except InputError as error:
                raise InputError(f"noise {self.name!r}: {error}") from None
        return self.powers[h, w]

    def colour(self, z: Tensor) -> Tensor:
        """L z: (B, *item), in the type of z (at least float32)."""
        return self._filter(z, 1.0)

    def whiten(self, x: Tensor) -> Tensor:
        """L^-1 x: (B, *item)."""
        return self._filter(x, -1.0)

    def _filter(self, x: Tensor, power: float) -> Tensor:
        h, w = x.shape[-2:]
        x = x if x.dtype == torch.float64 else x.float()
        if (key := (h, w, power, x.device, x.dtype)) not in self.gains:
            gain = self.power((h, w)).sqrt()[:, : w // 2 + 1] ** power
            self.gains[key] = gain.to(x.device, x.dtype)  # both at once: some GPUs have no float64
        filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * self.gains[key], s=(h, w))
        return filtered


def spectrum_of(law: Law, item: Sequence[int]) -> Tensor | None:
    """The power spectrum of filtered or uncorrelated noise of items (..., h, w), (h, w) of mean 1; None for others."""
    if isinstance(law, Filtered):
        return law.power(item)
    return None if law.traits.correlated else torch.ones(item[-2], item[-1], dtype=torch.float64)


def white_shift(law: Filtered, item: Sequence[int], highest: float = LOW_BAND) -> float:
    """How white noise must be scaled to be as strong as the filtered noise at frequencies up to `highest`.

    This is the fair control of a filtered noise: white noise b' = k b has the same signal-to-noise ratio in the low
    band, where images have their energy. In log(a / b) it moves the schedule by -log k.

    Args:
        item: (..., h, w).
        highest: |f| in cycles per pixel.

    Returns:
        k, the root of the filtered noise's mean power in that band (white noise has 1).
    """
    power, f = law.power(item), spectra.frequencies(item[-2], item[-1])
    return math.sqrt(float(power[f <= highest].mean()))


@register("power_law")
def power_law(beta: float = 1.0, base: Mapping[str, object] = GAUSSIAN) -> JointLaw:
    """Power |f|^-beta at frequency f: `beta` 1 is pink, 2 red, 0 white, -1 blue. `base` is filtered.

    Voleti et al. 2022 (arXiv 2210.12254) and Scimeca et al. 2025 (arXiv 2502.10236) train with such noise.
    """
    return Filtered(spectra.power_law(number("beta", beta, -8.0, 8.0)), make_part("base", base))


@register("flicker")
def flicker(eta: float = 0.2, base: Mapping[str, object] = GAUSSIAN) -> JointLaw:
    """Covariance (r + 1)^-eta between pixels at the distance r, `eta` > 0: a little noise of every wavelength.

    As in Flicker-DDPM (Mao and Li 2026, arXiv 2606.03393), but on a torus. There a small `eta` is refused, on images
    that are not square also 0.3: the power of some frequencies would be negative.
    """
    return Filtered(spectra.flicker(number("eta", eta, 0.0, 100.0)), make_part("base", base))


@register("band")
def band(low: float = 0.0, high: float = 0.25, floor: float = 0.1, base: Mapping[str, object] = GAUSSIAN) -> JointLaw:
    """Frequencies from `low` to `high` cycles per pixel with full power, the others with `floor` > 0 of it."""
    low, high = number("low", low), number("high", high)
    if not 0.0 <= low <= spectra.HIGHEST:
        raise InputError(f"low: {low:g} must lie between 0 and {spectra.HIGHEST:.4f}, the highest frequency of images")
    if not low < high:
        raise InputError(f"high: {high:g} must be above low, {low:g}")
    return Filtered(spectra.band(low, high, number("floor", floor, 0.0, 1.0)), make_part("base", base))


@register("spectrum")
def spectrum(powers: Sequence[float] = (4.0, 2.0, 1.0, 0.5), base: Mapping[str, object] = GAUSSIAN) -> JointLaw:
    """`powers` > 0 in bins of equal width of the frequency; `ngldm noise spectrum` measures those of your latents."""
    if isinstance(powers, str) or not isinstance(powers, Sequence) or not powers:
        raise InputError(f"powers: {powers!r} must be a list of numbers above 0")
    return Filtered(
        spectra.radial([number(f"powers[{i}]", value, 0.0) for i, value in enumerate(powers)]), make_part("base", base)
    )


@register("offset")
def offset(strength: float = 0.1, base: Mapping[str, object] = GAUSSIAN) -> JointLaw:
    """White noise plus `strength` > 0 times one number for each image and channel, scaled to unit energy.

    The covariance of a channel is (I + s^2 1 1^T) / (1 + s^2). Offset noise as it is used elsewhere leaves out the
    scaling (Guttenberg 2023).
    """
    return Filtered(spectra.offset(number("strength", strength, 0.0, 1e3)), make_part("base", base))


@register("pyramid")
def pyramid(discount: float = 0.5, base: Mapping[str, object] = GAUSSIAN) -> JointLaw:
    """White noise plus noise of half the size, a quarter, ..., with amplitudes `discount`, discount^2, ..., in (0, 1).

    Multi-resolution noise (Whitaker 2023), but brought to full size by Fourier series and divided by its exact
    deviation, so that an image does not depend on its batch.
    """
    return Filtered(spectra.pyramid(number("discount", discount, 0.0, 1.0)), make_part("base", base))
