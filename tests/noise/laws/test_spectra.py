"""Power spectra: slopes, bands, the covariance of flicker and offset noise, and what is refused."""

import math

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.noise.laws import spectra
from ngldm.noise.laws.spectra import frequencies, radial_power, unit_power

SIZES = [(8, 8), (7, 5), (1, 6), (16, 3), (1, 1)]
ALL = {
    "pink": spectra.power_law(1.0),
    "blue": spectra.power_law(-1.0),
    "flicker": spectra.flicker(0.5),
    "offset": spectra.offset(0.3),
    "pyramid": spectra.pyramid(0.6),
    "radial": spectra.radial([3.0, 2.0, 0.5]),
}


def covariance(power: torch.Tensor) -> np.ndarray:
    """(h, w): of pixel (0, 0) with every other; the power is its Fourier series."""
    return np.fft.ifft2(power.numpy()).real


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ALL)
def test_every_spectrum_has_unit_energy_and_is_real(name: str, size: tuple[int, int]) -> None:
    power = unit_power(ALL[name], *size)
    assert power.shape == size
    assert float(power.mean()) == pytest.approx(1.0, rel=1e-12)
    mirrored = power.roll((-1, -1), (0, 1)).flip(0, 1)  # power at -f
    torch.testing.assert_close(power, mirrored)
    assert covariance(power)[0, 0] == pytest.approx(1.0, rel=1e-12)  # each pixel's variance


def test_frequencies_are_numpys() -> None:
    rows, columns = np.meshgrid(np.fft.fftfreq(6), np.fft.fftfreq(9), indexing="ij")
    np.testing.assert_allclose(frequencies(6, 9).numpy(), np.hypot(rows, columns), rtol=1e-12)


@pytest.mark.parametrize("beta", [2.0, 1.0, -0.5])
def test_a_power_law_has_its_slope(beta: float) -> None:
    power, f = unit_power(spectra.power_law(beta), 32, 24), frequencies(32, 24)
    above = f > 0
    slope = np.polyfit(f[above].log().numpy(), power[above].log().numpy(), 1)[0]
    assert slope == pytest.approx(-beta, abs=1e-9)
    assert float(power[0, 0]) == pytest.approx(float(power[1, 0]))  # the lowest other frequency


def test_flicker_has_its_covariance() -> None:
    """(r + 1)^-eta at the distance r, by numpy's inverse transform."""
    found = covariance(unit_power(spectra.flicker(0.4), 8, 10))
    assert found[3, 0] == pytest.approx(4**-0.4, rel=1e-9)
    assert found[0, 2] == pytest.approx(3**-0.4, rel=1e-9)
    assert found[3, 6] == pytest.approx(6**-0.4, rel=1e-9)  # column 6 is at distance 4 on the torus: r is 5


def test_offset_noise_has_its_covariance() -> None:
    """(I + s^2 1 1^T) / (1 + s^2): one number between any two pixels."""
    found = covariance(unit_power(spectra.offset(0.5), 6, 5))
    expected = np.full((6, 5), 0.25 / 1.25)
    expected[0, 0] = 1.0
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_pyramid_is_white_noise_and_coarser_noise() -> None:
    """On 2 x 2 pixels: white, and one number for the image, with amplitudes 1 and d. So it is offset noise."""
    torch.testing.assert_close(unit_power(spectra.pyramid(0.6), 2, 2), unit_power(spectra.pyramid(0.6), 2, 2).T)
    power = unit_power(spectra.pyramid(0.6), 4, 4)
    # Levels: 16 frequencies, the 9 up to 1 cycle of each axis, the mean alone; 1 + d^2 + d^4 in all.
    total = 1 + 0.6**2 + 0.6**4
    assert float(power[0, 0]) == pytest.approx((1 + 0.36 * 16 / 9 + 0.6**4 * 16) / total)
    assert float(power[1, 1]) == pytest.approx((1 + 0.36 * 16 / 9) / total)
    assert float(power[2, 2]) == pytest.approx(1 / total)


def test_a_band_keeps_its_frequencies() -> None:
    power, f = unit_power(spectra.band(0.1, 0.3, 0.2), 16, 16), frequencies(16, 16)
    inside = (f >= 0.1) & (f <= 0.3)
    assert power[inside].unique().numel() == power[~inside].unique().numel() == 1
    assert float(power[~inside][0] / power[inside][0]) == pytest.approx(0.2)


def test_the_power_of_images_is_measured() -> None:
    """Images of one wave each: all power in its bin. White images: the same power in each bin, 5 standard errors."""
    wave = (2 * math.pi * 4 * torch.arange(16.0) / 16).cos().expand(2, 3, 16, 16)  # 0.25 cycles per pixel
    powers = radial_power(wave, 4)  # bins of width sqrt(1/2) / 4 = 0.177
    bins = (frequencies(16, 16) / (math.sqrt(0.5) / 4)).long().clamp(max=3)
    assert powers[1] == pytest.approx(256 / int((bins == 1).sum()))
    assert sum(powers) - powers[1] < 1e-6
    white = torch.randn(500, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert radial_power(white, 4) == pytest.approx([1.0] * 4, abs=5 * math.sqrt(2 / (1500 * 10)))


def test_a_bin_without_a_frequency_takes_the_nearest() -> None:
    powers = radial_power(torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(0)), 16)
    assert len(powers) == 16
    assert powers[1] in (powers[0], powers[5])  # 0.25 cycles per pixel, the next frequency, lies in bin 5
    assert all(power > 0 for power in powers)


@pytest.mark.parametrize(
    ("spectrum", "words"),
    [
        (lambda h, w: torch.zeros(h, w), "must be finite and positive at every frequency"),
        (lambda h, w: torch.full((h, w), math.inf), "must be finite and positive at every frequency"),
        (lambda h, w: torch.eye(h, w, dtype=torch.float64), "the least is 0 of the mean"),
        (spectra.flicker(0.05), "must be finite and positive at every frequency"),
        (spectra.band(0.01, 0.02, 0.1), "of the frequencies of 8 x 8 pixels none lie in"),
        (spectra.band(0.0, 0.8, 0.1), "all lie in"),
    ],
)
def test_a_filter_without_power_is_refused(spectrum: spectra.Spectrum, words: str) -> None:
    with pytest.raises(InputError, match=words):
        unit_power(spectrum, 8, 8)
