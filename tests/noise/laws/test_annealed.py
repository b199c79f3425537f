"""Noise that changes its colour with its level: the spectrum at each level, and noise carried between levels."""

import math

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.noise import make_noise
from ngldm.noise.laws.annealed import Annealed
from ngldm.noise.laws.filtered import spectrum_of

ITEM = (1, 6, 5)
SIZE = 2**14
PINK = {"distribution": "power_law", "beta": 2.0}


def annealed(**params: object) -> Annealed:
    law = make_noise("annealed", {"first": PINK, **params})
    assert isinstance(law, Annealed)
    return law


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_spectrum_goes_from_the_first_to_the_second(weight: float) -> None:
    """By numpy's transform, 6 standard errors at each of 30 frequencies; the energy is 1 all the way."""
    x = annealed().sample_at((SIZE, *ITEM), torch.full((SIZE,), weight), torch.Generator().manual_seed(0)).numpy()
    periodogram = np.abs(np.fft.fft2(x[:, 0], norm="ortho")) ** 2
    pink = spectrum_of(make_noise("power_law", {"beta": 2.0}), ITEM)
    assert pink is not None
    expected = (1 - weight) * pink.numpy() + weight
    assert expected.mean() == pytest.approx(1.0)
    assert (np.abs(periodogram.mean(0) - expected) < 6 * periodogram.std(0) / math.sqrt(SIZE)).all()


def test_the_weight_is_logistic_in_lambda() -> None:
    law = annealed(centre=1.0, width=2.0)
    found = law.at(torch.tensor([-math.inf, 1.0, 3.0, math.inf]))
    assert found.tolist() == pytest.approx([0.0, 0.5, 1 / (1 + math.exp(-1.0)), 1.0])


def test_noise_is_carried_to_the_same_images_noise_at_another_level() -> None:
    law, weights = annealed(), torch.tensor([0.2, 0.9, 0.5])
    at_t = law.sample_at((3, *ITEM), weights, torch.Generator().manual_seed(0))
    at_s = law.sample_at((3, *ITEM), weights / 2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(law.carry(at_t, weights, weights / 2), at_s, rtol=1e-4, atol=1e-5)


def test_pure_noise_is_the_first() -> None:
    law = annealed()
    found = law.sample((4, *ITEM), torch.Generator().manual_seed(0))
    expected = make_noise("power_law", {"beta": 2.0}).sample((4, *ITEM), torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


BASES = [{"distribution": "multivariate_t", "df": 9.0}, {"distribution": "gamma", "concentration": 4.0}]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base["distribution"])
def test_any_noise_can_change_its_colour(base: dict) -> None:
    """The spectrum half-way, the ends, and the same image's noise at two levels, for a shared scale and for i.i.d."""
    law = annealed(first={**PINK, "base": base}, second=base)
    x = law.sample_at((SIZE, *ITEM), torch.full((SIZE,), 0.4), torch.Generator().manual_seed(0)).numpy()
    periodogram = np.abs(np.fft.fft2(x[:, 0], norm="ortho")) ** 2
    pink = spectrum_of(make_noise("power_law", {"beta": 2.0}), ITEM)
    assert pink is not None
    assert (np.abs(periodogram.mean(0) - 0.6 * pink.numpy() - 0.4) < 6 * periodogram.std(0) / math.sqrt(SIZE)).all()
    for weight, end in ((0.0, make_noise("power_law", {"beta": 2.0, "base": base})), (1.0, make_noise(**named(base)))):
        found = law.sample_at((4, *ITEM), torch.full((4,), weight), torch.Generator().manual_seed(0))
        expected = end.sample((4, *ITEM), torch.Generator().manual_seed(0))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weights = torch.tensor([0.2, 0.9, 0.5])
    at_t, at_s = (law.sample_at((3, *ITEM), w, torch.Generator().manual_seed(0)) for w in (weights, weights / 2))
    torch.testing.assert_close(law.carry(at_t, weights, weights / 2), at_s, rtol=1e-4, atol=1e-5)
    assert (law.traits.shared, law.traits.gaussian) == (base["distribution"] == "multivariate_t", False)


def named(base: dict) -> dict:
    return {"name": base["distribution"], "params": {k: v for k, v in base.items() if k != "distribution"}}


def test_bad_input() -> None:
    for params, words in (
        ({"second": {"distribution": "laplace"}}, "second: is 'laplace' filtered, first is 'gaussian' filtered; only"),
        (
            {f: {"distribution": "multivariate_t", "df": df} for f, df in (("first", 5.0), ("second", 6.0))},
            r"second: is 'multivariate_t' \{'df': 6.0\} filtered, first is 'multivariate_t' \{'df': 5.0\} filtered",
        ),
        ({"second": {"distribution": "sum"}}, "second: 'sum' has no spectrum"),
        ({"second": {"distribution": "covariance"}}, "second: 'covariance' has no spectrum"),
        (
            {f: {"distribution": "exponential_uncentred"} for f in ("first", "second")},
            "has mean 1; it must have mean 0",
        ),
        ({"first": {"distribution": "annealed"}}, "first: the law of 'annealed' changes with t itself"),
        ({"width": 0.0}, "width: 0.0 must be above 0"),
        ({"centre": "low"}, "centre: 'low' is not a finite number"),
    ):
        with pytest.raises(InputError, match=words):
            make_noise("annealed", params)
    with pytest.raises(InputError, match="no single filter"):
        annealed().colour(torch.zeros(1, *ITEM))
    with pytest.raises(InputError, match="must have the shape"):
        annealed().check_item((16,))
