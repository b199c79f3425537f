"""Power spectra of correlated noise: how much of its energy lies at each frequency of rows and columns.

A spectrum is the power of an image of h rows and w columns at the frequencies of `torch.fft.fft2`, as an array (h, w).
Its mean is brought to 1, so that every element of the noise has variance 1. |f| is in cycles per pixel, from 0 to
sqrt(1/2).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ngldm.io.errors import InputError

Spectrum = Callable[[int, int], Tensor]  # (h, w) -> power (h, w), float64, positive, of any mean
HIGHEST = math.sqrt(0.5)  # |f| at the corner


def frequencies(h: int, w: int) -> Tensor:
    """|f| of each entry of fft2, in cycles per pixel: (h, w) float64."""
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64) for n in (h, w))
    return torch.hypot(rows[:, None], columns)


def unit_power(spectrum: Spectrum, h: int, w: int) -> Tensor:
    """The spectrum of images of h rows and w columns, scaled to mean 1.

    Raises:
        InputError: the power at a frequency is 0, negative or not finite.
    """
    power = spectrum(h, w)
    power = power / power.mean()
    if not (power.isfinite().all() and (power > 1e-12).all()):
        low = float(power.min())
        raise InputError(
            f"filter: the power of noise of {h} x {w} pixels must be finite and positive at every frequency; the least "
            f"is {low:g} of the mean. A frequency without noise shows the image at every t: x_T could not be drawn"
        )
    return power


def power_law(beta: float) -> Spectrum:
    """|f|^-beta; frequency 0 has the power of the lowest other one."""

    def spectrum(h: int, w: int) -> Tensor:
        f = frequencies(h, w)
        lowest = float(f[f > 0.0].min()) if h * w > 1 else 1.0
        return f.clamp(min=lowest) ** -beta

    return spectrum


def band(low: float, high: float, floor: float) -> Spectrum:
    """1 for |f| from low to high, floor outside."""

    def spectrum(h: int, w: int) -> Tensor:
        inside = (frequencies(h, w) >= low) & (frequencies(h, w) <= high)
        if inside.all() or not inside.any():
            raise InputError(
                f"low, high: of the frequencies of {h} x {w} pixels {'all' if inside.all() else 'none'} lie in "
                f"[{low:g}, {high:g}], so the noise would be white"
            )
        return torch.where(inside, 1.0, floor).double()

    return spectrum


def flicker(eta: float) -> Spectrum:
    """The spectrum of the covariance (r + 1)^-eta at the distance r of two pixels on a torus."""

    def spectrum(h: int, w: int) -> Tensor:
        rows, columns = (torch.minimum(torch.arange(n), n - torch.arange(n)).double() for n in (h, w))
        power: Tensor = torch.fft.fft2((torch.hypot(rows[:, None], columns) + 1.0) ** -eta).real
        return power

    return spectrum


def offset(strength: float) -> Spectrum:
    """White noise and `strength` times one number for each image and channel."""

    def spectrum(h: int, w: int) -> Tensor:
        power = torch.ones(h, w, dtype=torch.float64)
        power[0, 0] += strength**2 * h * w
        return power

    return spectrum


def pyramid(discount: float) -> Spectrum:
    """White noise of h x w, h/2 x w/2, ... to one pixel, each brought to h x w, with amplitudes 1, discount, ...

    The coarse noise is brought to full size by its Fourier series, which keeps its variance the same at every pixel.
    """

    def spectrum(h: int, w: int) -> Tensor:
        rows, columns = ((torch.fft.fftfreq(n, dtype=torch.float64) * n).abs() for n in (h, w))
        power, level = torch.zeros(h, w, dtype=torch.float64), 0
        while True:
            kept = (rows[:, None] <= h / 2 ** (level + 1)) & (columns <= w / 2 ** (level + 1))
            power += discount ** (2 * level) * kept / kept.double().mean()
            if kept.sum() == 1:
                return power
            level += 1

    return spectrum


def radial(powers: Sequence[float]) -> Spectrum:
    """`powers` in bins of equal width of |f|, from 0 to the corner."""
    values = torch.tensor(list(powers), dtype=torch.float64)
    return lambda h, w: values[_bins(frequencies(h, w), len(values))]


def _bins(f: Tensor, count: int) -> Tensor:
    return (f * (count / HIGHEST)).long().clamp(max=count - 1)


def radial_power(images: Tensor, count: int) -> list[float]:
    """The mean power of images in `count` bins of equal width of |f|, scaled to mean 1 over the frequencies.

    A bin without a frequency has the power of the nearest bin that has one.

    Args:
        images: (N, C, H, W) of mean about 0.
    """
    h, w = images.shape[-2:]
    power = torch.fft.fft2(images.double(), norm="ortho").abs().square().flatten(0, -3).mean(0)
    bins = _bins(frequencies(h, w), count).flatten()
    sums = torch.zeros(count, dtype=torch.float64).index_add(0, bins, (power / power.mean()).flatten())
    held = torch.bincount(bins, minlength=count)
    known = held.nonzero().flatten()
    nearest = known[(known - torch.arange(count)[:, None]).abs().argmin(1)]
    return (sums[nearest] / held[nearest]).tolist()
