"""The radial spectrum: of waves and of white noise, whose power is known."""

import numpy as np
import pytest

from ngldm.scoring.further.spectrum import radial_spectrum, spectrum_error


def wave(cycles: int, side: int = 16) -> np.ndarray:
    x = np.arange(side)
    grey = 128 + 100 * np.cos(2 * np.pi * cycles * x / side)
    return np.broadcast_to(grey, (1, side, side))[..., None].round().astype(np.uint8)


@pytest.mark.parametrize("cycles", [1, 3, 6])
def test_a_wave_has_its_power_in_its_ring(cycles):
    """100 cos has a mean square of 5000: at two frequencies, each with 2500 per pixel squared, so 2500 * 256 / n."""
    spectrum = radial_spectrum(wave(cycles))
    assert spectrum.argmax() == cycles - 1
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(16) * 16, np.fft.fftfreq(16) * 16)).round()
    assert spectrum[cycles - 1] == pytest.approx(2 * 2500 * 256 / (frequencies == cycles).sum(), rel=0.01)
    assert np.delete(spectrum, cycles - 1).max() < 1e-3 * spectrum.max()


@pytest.mark.parametrize("shape", [(500, 12, 12, 1), (500, 9, 14, 3)])
def test_white_noise_has_its_variance_in_every_ring(shape):
    """Parseval: power per frequency and pixel is the variance; of whole numbers 0 to 255 it is (256^2 - 1) / 12."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_allclose(radial_spectrum(images, chunk=64), (256**2 - 1) / 12, rtol=0.06)


def test_the_error_is_the_mean_difference_of_decades():
    real = np.array([1.0, 10.0, 100.0])
    assert spectrum_error(real, real) == 0.0
    assert spectrum_error(10.0 * real, real) == pytest.approx(1.0)
    assert spectrum_error(real * [10.0, 1.0, 1.0], real) == pytest.approx(np.sqrt(1 / 3))
    assert np.isfinite(spectrum_error(np.zeros(3), real))
