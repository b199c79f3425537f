"""Radial power spectrum: how much detail of each size images have."""

import numpy as np
from numpy.typing import NDArray

from ngldm.io.images import UInt8Array

FloatArray = NDArray[np.float64]
LEAST = 1e-6  # of a band's power in squared grey levels; below it, there is nothing to compare


def radial_spectrum(images: UInt8Array, chunk: int = 1024) -> FloatArray:
    """Mean power of uint8 images (N, H, W, C) in rings of the frequency plane, over images and channels.

    Ring r holds the frequencies whose distance from 0 rounds to r cycles per shorter side, r = 1 to half of that side.

    Returns:
        (min(H, W) // 2,) in squared grey levels, per frequency and pixel.
    """
    height, width = images.shape[1:3]
    side = min(height, width)
    down, across = np.fft.fftfreq(height) * side, np.fft.fftfreq(width) * side
    ring = np.hypot(down[:, None], across[None]).round().astype(int)
    power = np.zeros((height, width))
    for start in range(0, len(images), chunk):
        transformed = np.fft.fft2(images[start : start + chunk].astype(np.float64), axes=(1, 2))
        power += np.square(np.abs(transformed)).sum((0, 3))
    power /= len(images) * images.shape[3] * height * width
    return np.array([power[ring == r].mean() for r in range(1, side // 2 + 1)])


def spectrum_error(generated: FloatArray, real: FloatArray) -> float:
    """Root mean square of log10(generated / real) over the rings: 0 is right, 1 is a factor of ten."""
    ratio = generated.clip(min=LEAST) / real.clip(min=LEAST)
    return float(np.sqrt(np.square(np.log10(ratio)).mean()))
