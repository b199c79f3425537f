"""The curves beside their formulas; tests/diffusion/schedules/test_schedule.py tests the schedules made of them."""

import math

import pytest
import torch

from ngldm.diffusion.schedules.curves import CURVES, POLYNOMIALS, constant, power

U = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_end_at_beta_end(name: str) -> None:
    assert float(POLYNOMIALS[name](U, 0.001, 0.02)[-1]) == pytest.approx(0.02)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_the_root_of_a_polynomial_is_linear(degree: int) -> None:
    root = power(degree)(U, 0.001, 0.02) ** (1.0 / degree)
    torch.testing.assert_close(root.diff(), torch.full((10,), float(root[-1] - root[0]) / 10, dtype=torch.float64))
    assert float(root[0]) == pytest.approx(0.001 ** (1.0 / degree))


def test_constant() -> None:
    assert constant(U, 0.001, 0.02).unique().tolist() == [0.02]


@pytest.mark.parametrize("name", CURVES)
def test_curves_fall(name: str) -> None:
    abar = CURVES[name](U)
    assert bool((abar.diff() < 0.0).all())
    assert float(abar[0]) == pytest.approx(1.0, abs=2e-4)


def test_cosine_in_the_middle() -> None:
    assert float(CURVES["cosine"](U)[5]) == pytest.approx(math.cos(0.508 / 1.008 * math.pi / 2) ** 2)
