"""Filtered noise: energy, spectrum and covariance of its draws, its inverse, K, and the white control."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.noise import draw_with_stein, make_noise
from ngldm.noise.laws.filtered import Filtered, spectrum_of, white_shift
from ngldm.noise.laws.spectra import frequencies

LAWS = {
    "power_law": {"beta": 1.0},
    "flicker": {"eta": 1.0},
    "band": {"low": 0.0, "high": 0.3, "floor": 0.2},
    "spectrum": {"powers": [3.0, 1.0, 0.5]},
    "offset": {"strength": 0.4},
    "pyramid": {"discount": 0.6},
}
BASES = [{"distribution": "gaussian"}, {"distribution": "multivariate_t", "df": 9.0}, {"distribution": "gamma"}]
ITEM = (2, 6, 5)
SIZE = 2**14


def filtered(name: str = "power_law", **params: object) -> Filtered:
    law = make_noise(name, {**LAWS[name], **params})
    assert isinstance(law, Filtered)
    return law


def sample(law: Filtered, size: int = SIZE, item: tuple[int, ...] = ITEM) -> torch.Tensor:
    return law.sample((size, *item), torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base["distribution"])
@pytest.mark.parametrize("name", LAWS)
def test_every_pixel_has_mean_0_and_variance_1(name: str, base: dict) -> None:
    x = sample(filtered(name, base=base))
    assert float((x.mean(0).abs() / (x.std(0) / SIZE**0.5)).max()) < 5.5  # 60 pixels
    squares = x.square()
    assert float(((squares.mean(0) - 1.0).abs() / (squares.std(0) / SIZE**0.5)).max()) < 5.5


@pytest.mark.parametrize("name", LAWS)
def test_the_draws_have_the_spectrum_by_numpys_transform(name: str) -> None:
    """|F|^2 of Gaussian noise is chi^2 distributed about the power; 6 standard errors at each of 30 frequencies."""
    law = filtered(name)
    periodogram = np.abs(np.fft.fft2(sample(law)[:, 0].numpy(), norm="ortho")) ** 2
    error = periodogram.std(0) / math.sqrt(SIZE)
    assert np.abs(periodogram.mean(0) - law.power(ITEM).numpy()).max() < (6 * error).max()
    assert (np.abs(periodogram.mean(0) - law.power(ITEM).numpy()) < 6 * error).all()


def test_offset_noise_has_its_covariance_within_a_channel_and_none_between() -> None:
    s = 0.8
    x = sample(filtered("offset", strength=s)).flatten(1)[:, [0, 1, 29, 30]].numpy()  # the last is of channel 1
    expected = np.full((4, 4), s**2 / (1 + s**2))
    expected[3, :3] = expected[:3, 3] = 0.0
    np.fill_diagonal(expected, 1.0)
    assert np.abs(np.cov(x.T) - expected).max() < 6 * math.sqrt(2 / SIZE)


def test_an_element_of_filtered_t_noise_is_still_t() -> None:
    law = filtered(base={"distribution": "multivariate_t", "df": 9.0})
    x = sample(law)[:, 1, 2, 3]
    assert stats.kstest(x, stats.t(9, scale=math.sqrt(7 / 9)).cdf).statistic < 3 / math.sqrt(SIZE)
    assert law.marginal is not None
    assert (law.marginal.name, law.traits.needs, law.traits.shared) == ("student_t", "scalar", True)


@pytest.mark.parametrize("item", [(3, 8, 8), (1, 7, 5), (2, 4, 9)])
@pytest.mark.parametrize("name", LAWS)
def test_colouring_is_linear_symmetric_and_invertible(name: str, item: tuple[int, ...]) -> None:
    law, generator = filtered(name), torch.Generator().manual_seed(1)
    x, y = (torch.randn(4, *item, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(law.whiten(law.colour(x)), x)
    torch.testing.assert_close((law.colour(x) * y).sum(), (x * law.colour(y)).sum())
    torch.testing.assert_close(law.colour(2 * x - y), 2 * law.colour(x) - law.colour(y))


def test_filtered_noise_on_x_is_white_noise_on_the_data_filtered_back() -> None:
    """a x + b L m = L (a L^-1 x + b m), with the same m: the two diffusions are one."""
    law = filtered("power_law", beta=1.5)
    x = torch.randn(5, *ITEM, generator=torch.Generator().manual_seed(2))
    n = law.sample((5, *ITEM), torch.Generator().manual_seed(3))
    m = make_noise("gaussian").sample((5, *ITEM), torch.Generator().manual_seed(3))
    for a, b in ((0.9, 0.4), (0.1, 1.0)):
        torch.testing.assert_close(law.whiten(a * x + b * n), a * law.whiten(x) + b * m, rtol=1e-4, atol=1e-5)


def test_stein_identity_of_filtered_gaussian_noise_needs_the_colour() -> None:
    """E[n_i f(n_j)] = Sigma_ij E[f'(n_j)], f = tanh; 5 standard errors. Sigma is numpy's inverse transform of S."""
    law = filtered("power_law")
    n, k = draw_with_stein(law, (SIZE, *ITEM), torch.Generator().manual_seed(0))
    assert torch.equal(k, torch.ones_like(n))
    sigma = np.fft.ifft2(law.power(ITEM).numpy()).real[1, 2]
    x, y = n[:, 0, 3, 4].double(), n[:, 0, 2, 2].double()
    difference = x * y.tanh() - sigma * (1 - y.tanh() ** 2)
    assert abs(float(difference.mean())) < 5 * float(difference.std()) / SIZE**0.5


def test_k_of_a_filtered_scale_mixture_and_of_gamma_is_that_of_the_noise_before() -> None:
    shape, base = (7, *ITEM), {"distribution": "multivariate_t", "df": 5.0}
    _, k = draw_with_stein(filtered(base=base), shape, torch.Generator().manual_seed(0))
    _, expected = draw_with_stein(make_noise("multivariate_t"), shape, torch.Generator().manual_seed(0))
    assert torch.equal(k, expected)
    law = filtered(base={"distribution": "gamma", "concentration": 4.0})
    m = make_noise("gamma", {"concentration": 4.0}).sample(shape, torch.Generator().manual_seed(0))
    torch.testing.assert_close(law.k_bar(law.colour(m)), 1 + m / 2, rtol=1e-4, atol=1e-4)  # Gamma(4): 1 + n / sqrt(4)
    assert law.traits.needs == "eps"


def test_the_white_control_has_the_same_noise_in_the_low_band() -> None:
    law = filtered("power_law", beta=1.0)
    f = frequencies(16, 16)
    periodogram = np.abs(np.fft.fft2(sample(law, 2000, (1, 16, 16))[:, 0].numpy(), norm="ortho")) ** 2
    low = periodogram[:, (f <= 0.125).numpy()].mean(1)
    k = white_shift(law, (1, 16, 16))
    assert k > 1.0
    assert low.mean() == pytest.approx(k**2, abs=5 * low.std() / math.sqrt(2000))
    assert white_shift(filtered("power_law", beta=0.0), (1, 16, 16)) == pytest.approx(1.0)


def test_the_spectrum_of_white_and_of_other_noise() -> None:
    white = spectrum_of(make_noise("gaussian"), (1, 4, 4))
    assert white is not None
    assert torch.equal(white, torch.ones(4, 4, dtype=torch.float64))
    assert torch.equal(spectrum_of(make_noise("laplace"), (1, 4, 4)), white)
    assert spectrum_of(make_noise("covariance"), (2, 4, 4)) is None


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("power_law", {"beta": math.inf}, "beta: inf is not a finite number"),
        ("flicker", {"eta": 0.0}, "eta: 0.0 must be strictly between 0 and 100"),
        ("band", {"low": 0.3, "high": 0.2}, "high: 0.2 must be above low, 0.3"),
        ("band", {"floor": 0.0}, "floor: 0.0 must be"),
        ("band", {"low": 0.71, "high": 0.8}, "low: 0.71 must lie between 0 and 0.7071"),
        ("band", {"low": -0.1}, "low: -0.1 must lie between 0 and 0.7071"),
        ("spectrum", {"powers": [1.0, 0.0]}, r"powers\[1\]: 0.0 must be above 0"),
        ("spectrum", {"powers": []}, r"powers: \[\] must be a list"),
        ("offset", {"strength": -1.0}, "strength: -1.0 must be"),
        ("pyramid", {"discount": 1.0}, "discount: 1.0 must be"),
        ("power_law", {"base": {"distribution": "exponential_uncentred"}}, "base: .* must have mean 0"),
        ("power_law", {"base": {"distribution": "offset"}}, "base: 'offset' must have mean 0 and uncorrelated"),
        ("power_law", {"base": "gaussian"}, "base: 'gaussian' must be a mapping"),
    ],
)
def test_bad_parameters(name: str, params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_noise(name, params)


def test_items_without_rows_and_columns_are_refused() -> None:
    law = filtered()
    for item in ((16,), (4, 4), ()):
        with pytest.raises(InputError, match=r"an item must have the shape \(C, H, W\)"):
            law.check_item(item)
    with pytest.raises(InputError, match="none lie in"):
        filtered("band", low=0.01, high=0.02).check_item((1, 8, 8))
