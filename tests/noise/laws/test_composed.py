"""Choice and sum of laws: shares, energy, the Gaussian case, K, and what is refused."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.noise import draw_with_stein, make_noise
from ngldm.noise.laws.filtered import Filtered, spectrum_of

GAUSSIAN, STUDENT = {"distribution": "gaussian"}, {"distribution": "multivariate_t", "df": 9.0}
OFFSET, PINK = {"distribution": "offset", "strength": 0.5}, {"distribution": "power_law", "beta": 1.0}
GAMMA = {"distribution": "gamma", "concentration": 4.0}
SIZE = 2**15


def test_a_choice_is_one_of_its_laws_for_each_image() -> None:
    """Sphere noise has |n|^2 = d, t noise never has. 5 standard errors of the share."""
    law = make_noise("choice", {"laws": [{"distribution": "sphere"}, STUDENT], "weights": [0.3, 0.7]})
    x = law.sample((SIZE, 2, 4), torch.Generator().manual_seed(0), dtype=torch.float64).flatten(1)
    on_sphere = (x.square().mean(1) - 1.0).abs() < 1e-5
    assert float(on_sphere.double().mean()) == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / SIZE))
    rest = x[~on_sphere][:, 0]
    assert stats.kstest(rest, stats.t(9, scale=math.sqrt(7 / 9)).cdf).statistic < 3 / math.sqrt(len(rest))


@pytest.mark.parametrize("name", ["choice", "sum"])
@pytest.mark.parametrize("laws", [[STUDENT, OFFSET], [GAUSSIAN, STUDENT], [GAMMA, STUDENT], [PINK, OFFSET]])
def test_energy_is_1(name: str, laws: list[dict]) -> None:
    """5 standard errors of the mean of the images' energies."""
    law = make_noise(name, {"laws": laws, "weights": [0.5, 0.5]})
    energy = law.sample((SIZE, 1, 4, 4), torch.Generator().manual_seed(0), dtype=torch.float64).square().mean((1, 2, 3))
    assert float(energy.mean()) == pytest.approx(1.0, abs=5 * float(energy.std()) / SIZE**0.5)
    assert law.second_moment == 1.0


def test_a_sum_adds_independent_noise() -> None:
    """Cumulants add: the excess kurtosis of (3 gaussian + 4 Laplace) / 5 is (4/5)^4 times that of Laplace, 3."""
    law = make_noise("sum", {"laws": [GAUSSIAN, {"distribution": "multivariate_laplace"}], "weights": [3.0, 4.0]})
    x = law.sample((2**18, 1), torch.Generator().manual_seed(0), dtype=torch.float64)
    fourth = x**4
    bound = 5 * float(fourth.std()) / len(x) ** 0.5
    assert float(fourth.mean()) - 3.0 == pytest.approx(0.8**4 * 3, abs=bound)
    assert bound < 0.3


def test_a_sum_of_gaussian_noises_is_gaussian_with_the_sum_of_their_spectra() -> None:
    law = make_noise("sum", {"laws": [PINK, OFFSET], "weights": [3.0, 4.0]})
    assert isinstance(law, Filtered)
    assert (law.traits.gaussian, law.traits.needs, law.name) == (True, "nothing", "sum")
    powers = [spectrum_of(make_noise(p["distribution"], {k: v for k, v in p.items() if k != "distribution"}), (1, 6, 6))
              for p in (PINK, OFFSET)]  # fmt: skip
    assert powers[0] is not None
    assert powers[1] is not None
    torch.testing.assert_close(law.power((1, 6, 6)), 0.36 * powers[0] + 0.64 * powers[1])


@pytest.mark.parametrize("name", ["choice", "sum"])
@pytest.mark.parametrize(("laws", "needs"), [([GAUSSIAN, STUDENT], "scalar"), ([GAMMA, STUDENT], "element")])
def test_the_stein_identity(name: str, laws: list[dict], needs: str) -> None:
    """E[n f(n)] = E[K f'(n)], f = tanh and sin; 5 standard errors. n is what `sample` draws."""
    law = make_noise(name, {"laws": laws, "weights": [0.5, 0.5]})
    shape = (SIZE, 2, 2)
    n, k = draw_with_stein(law, shape, torch.Generator().manual_seed(0))
    assert torch.equal(n, law.sample(shape, torch.Generator().manual_seed(0)))
    assert law.traits.needs == needs
    assert k.shape == ((SIZE, 1, 1) if needs == "scalar" else shape)
    x, k = n[:, 0, 0].double(), k[:, 0, 0].double()
    for difference in (x * x.tanh() - k * (1 - x.tanh() ** 2), x * x.sin() - k * x.cos()):
        assert abs(float(difference.mean())) < 5 * float(difference.std()) / SIZE**0.5


def test_correlated_parts_that_differ_have_neither_k_nor_one_colour() -> None:
    law = make_noise("sum", {"laws": [STUDENT, OFFSET], "weights": [1.0, 1.0]})
    assert (law.traits.needs, law.traits.correlated) == ("unknown", True)
    with pytest.raises(InputError, match="no Stein kernel"):
        draw_with_stein(law, (2, 1, 4, 4))
    with pytest.raises(InputError, match="no single filter"):
        law.colour(torch.zeros(1, 1, 4, 4))
    x = law.sample((SIZE, 1, 4, 4), torch.Generator().manual_seed(0)).flatten(1).double().numpy()
    expected = 0.5 * 0.25 / 1.25  # half of the energy is offset noise, whose pixels have the covariance s^2 / (1 + s^2)
    products = x[:, 0] * x[:, 9]
    assert np.mean(products) == pytest.approx(expected, abs=5 * np.std(products) / math.sqrt(SIZE))


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("choice", {"laws": [GAUSSIAN, STUDENT], "weights": [0.5, 0.4]}, r"weights: \[0.5, 0.4\] must sum to 1"),
        ("choice", {"laws": [GAUSSIAN]}, "laws: .* must be a list of at least 2"),
        ("sum", {"laws": [GAUSSIAN, STUDENT], "weights": [1.0, 2.0, 3.0]}, "weights: 3 values, but there are 2 laws"),
        ("sum", {"laws": [GAUSSIAN, STUDENT], "weights": [1.0, 0.0]}, r"weights\[1\]: 0.0 must be above 0"),
        ("sum", {"laws": [GAUSSIAN, {"distribution": "isotropic_stable"}]}, r"laws\[1\]: .* infinite variance"),
        ("choice", {"laws": [GAUSSIAN, {"distribution": "exponential_uncentred"}]}, r"laws\[1\]: .* must have mean 0"),
        ("choice", {"laws": [GAUSSIAN, {"distribution": "annealed"}]}, r"laws\[1\]: .* 'annealed' changes with t"),
        ("sum", {"laws": [{"distribution": "annealed"}, GAUSSIAN]}, r"laws\[0\]: .* 'annealed' changes with t"),
        ("choice", {"laws": [GAUSSIAN, "pink"]}, r"laws\[1\]: 'pink' must be a mapping"),
    ],
)
def test_bad_parameters(name: str, params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_noise(name, params)


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_only_the_ratio_of_amplitudes_counts(size: float) -> None:
    laws = [STUDENT, GAUSSIAN]
    x, y = (
        make_noise("sum", {"laws": laws, "weights": [3.0 * w, 4.0 * w]}).sample(
            (9, 4), torch.Generator().manual_seed(0)
        )
        for w in (1.0, size)
    )
    torch.testing.assert_close(x, y)


def test_items_must_fit_every_part() -> None:
    with pytest.raises(InputError, match="must have the shape"):
        make_noise("choice", {"laws": [GAUSSIAN, OFFSET]}).sample((3, 8))


@pytest.mark.parametrize("name", ["choice", "sum"])
def test_a_part_with_a_covariance_says_what_items_begin_with(name: str) -> None:
    """A table of points is checked before its columns are known, with as many as the noise has."""
    law = make_noise(name, {"laws": [{"distribution": "gaussian"}, {"distribution": "covariance"}]})
    assert law.leading == (2,)
    law.check_item((2,))
    with pytest.raises(InputError, match="covariance of shape"):
        law.check_item((3,))
