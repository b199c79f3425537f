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


def test_bad_input() -> None:
    for params, words in (
        ({"second": {"distribution": "laplace"}}, "second: 'laplace' is not Gaussian"),
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
