"""Uniform directions: norms, and the Stein kernel of a radial law against closed forms."""

import math

import pytest
import torch
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.noise import draw_with_stein, make_noise

SIZE = 2**15


def test_the_sphere_has_one_radius_and_uniform_directions() -> None:
    x = make_noise("sphere").sample((SIZE, 2, 3, 4), torch.Generator().manual_seed(0), dtype=torch.float64).flatten(1)
    assert float((x.square().sum(1) - 24.0).abs().max()) < 1e-4
    # An element of a uniform unit vector: (u + 1) / 2 is Beta((d - 1) / 2, (d - 1) / 2).
    share = stats.kstest((x[:, 5] / math.sqrt(24) + 1) / 2, stats.beta(11.5, 11.5).cdf).statistic
    assert share < 3 / math.sqrt(SIZE)


def test_the_sphere_has_no_kernel_of_one_number() -> None:
    with pytest.raises(InputError, match="noise 'sphere': no Stein kernel"):
        draw_with_stein(make_noise("sphere"), (2, 3))


def test_a_radial_law_has_its_lengths_and_unit_energy() -> None:
    law = make_noise("radial", {"radius": {"distribution": "gamma", "concentration": 4.0}})
    x = law.sample((SIZE, 3, 2), torch.Generator().manual_seed(0), dtype=torch.float64)
    lengths = x.flatten(1).norm(dim=1)
    # E[R^2] = k (k + 1) = 20 for Gamma(4), scaled to 6 elements.
    assert stats.kstest(lengths, stats.gamma(4, scale=math.sqrt(6 / 20)).cdf).statistic < 3 / math.sqrt(SIZE)
    squares = x.square()
    assert float(squares.mean()) == pytest.approx(1.0, abs=5 * float(squares.mean((1, 2)).std()) / SIZE**0.5)


def test_the_kernel_of_a_gaussian_in_the_plane_is_1() -> None:
    """Rayleigh lengths (Weibull of k 2) with uniform directions in two dimensions are the Gaussian."""
    law = make_noise("radial", {"radius": {"distribution": "weibull", "k": 2.0}})
    n, k = draw_with_stein(law, (1000, 2), torch.Generator().manual_seed(0))
    assert stats.kstest(n[:, 0], stats.norm.cdf).statistic < 3 / math.sqrt(1000)
    torch.testing.assert_close(k, torch.ones(1000, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 6, 300])
def test_the_kernel_of_gamma_lengths_is_the_incomplete_gamma_function(size: int) -> None:
    """K(r) = e^r r^(d - k) times the integral of s^(k + 1 - d) e^-s from r, before scaling."""
    k = size + 1.0  # then the integrand is s^2 e^-s, and K = (r^2 + 2 r + 2) / r
    law = make_noise("radial", {"radius": {"distribution": "gamma", "concentration": k}})
    n, found = draw_with_stein(law, (500, size), torch.Generator().manual_seed(0))
    scale2 = size / (k * (k + 1.0))
    r = n.double().norm(dim=1) / math.sqrt(scale2)
    torch.testing.assert_close(found.flatten().double(), scale2 * (r**2 + 2 * r + 2) / r, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("radius", ["laplace", "poisson", "sphere"])
def test_a_length_must_be_positive(radius: str) -> None:
    with pytest.raises(InputError, match="radius: "):
        make_noise("radial", {"radius": {"distribution": radius}})


@pytest.mark.parametrize(
    "radius",
    [{"distribution": "gamma", "concentration": 1e-3}, {"distribution": "beta", "a": 0.5, "b": 1e-3}],
    ids=lambda radius: radius["distribution"],
)
def test_lengths_at_the_ends_of_the_support_have_a_finite_kernel(radius: dict) -> None:
    n, k = draw_with_stein(make_noise("radial", {"radius": radius}), (2000, 3), torch.Generator().manual_seed(0))
    assert n.isfinite().all()
    assert k.isfinite().all()
    assert (k >= 0.0).all()
