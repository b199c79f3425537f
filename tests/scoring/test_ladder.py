"""The sanity ladder: damages are what they are called, and an extractor that cannot see them is caught."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from sklearn.datasets import load_digits

from ngldm.scoring.ladder import MAX_IMAGES, Ladder, blurred, climb, noised


class Flat:
    """Features that are some of the pixels, or a function of them."""

    name, metric, weights_sha256 = "flat", "fd_flat", "e" * 64

    def __init__(self, function, dim):
        self.function, self.dim = function, dim

    def __call__(self, images):
        return self.function(torch.from_numpy(np.array(images)).float().flatten(1) / 255)


def digits() -> np.ndarray:
    return np.round(load_digits().images * 255 / 16).astype(np.uint8)[..., None]


def climbed(function, dim: int, images: np.ndarray) -> Ladder:
    extractor = Flat(function, dim)
    real = extractor(images).double()
    return climb(extractor, images, (real.mean(0), torch.cov(real.T)), 100)


def pixels(x):
    return x[:, ::3] + 0.0


def test_pixels_can_tell_damage_from_none():
    ladder = climbed(pixels, 22, digits())
    assert ladder.images == MAX_IMAGES
    assert ladder.faults == []
    assert 0 <= ladder.floor < ladder.blur_light < ladder.blur_strong
    assert ladder.floor < ladder.noise_light < ladder.noise_strong


def test_the_size_of_the_batches_changes_no_damage():
    images = digits()[:200]
    real = Flat(pixels, 22)(images).double()
    ladders = [climb(Flat(pixels, 22), images, (real.mean(0), torch.cov(real.T)), size) for size in (7, 100, 999)]
    for ladder in ladders[1:]:
        assert asdict(ladder) == pytest.approx(asdict(ladders[0]), rel=1e-5)  # rounding: the covariance is singular


def test_images_that_are_damaged_alone_and_together_are_damaged_alike():
    images = digits()[:5]
    np.testing.assert_array_equal(noised(images, "light")[3:], noised(images[3:], "light", first=3))


def blind(x):
    """Numbers that have nothing to do with the images."""
    return torch.stack([torch.arange(len(x)) % 7.0, torch.arange(len(x)) % 5.0], 1)


def contrast(x):
    """Blind to noise of the kind that a low contrast hides: it takes blurred images for better ones."""
    return torch.stack([x.std(1).clamp(max=0.2), x.mean(1).clamp(max=0.2)], 1)


@pytest.mark.parametrize("function", [blind, contrast])
def test_an_extractor_that_cannot_see_damage_is_caught(function):
    ladder = climbed(function, 2, digits()[:300])
    assert ladder.faults
    assert all("not more than" in fault for fault in ladder.faults)


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        ((1.0, 2.0, 3.0, 2.0, 3.0), []),
        ((1.0, 0.5, 3.0, 2.0, 3.0), ["light blur"]),
        ((1.0, 2.0, 1.5, 2.0, 3.0), ["strong blur"]),
        ((1.0, 2.0, 3.0, 1.0, 3.0), ["light noise"]),
        ((1.0, 2.0, 3.0, 3.0, 3.0), ["strong noise"]),
        ((1.0, 1.0, 1.0, 1.0, 1.0), ["light blur", "strong blur", "light noise", "strong noise"]),
    ],
)
def test_each_step_must_rise(steps, kinds):
    faults = Ladder(100, *steps).faults
    assert [" ".join(fault.split()[:2]) for fault in faults] == kinds


def test_distances_are_pytorch_fids_of_the_damaged_images():
    images = digits()[:400]
    ladder = climbed(pixels, 22, images)
    real = images.reshape(400, -1)[:, ::3] / 255
    for name, damaged in (("blur_strong", blurred(images, "strong")), ("noise_light", noised(images, "light"))):
        found = damaged.reshape(400, -1)[:, ::3] / 255
        moments = (real.mean(0), np.cov(real.T), found.mean(0), np.cov(found.T))
        assert getattr(ladder, name) == pytest.approx(float(calculate_frechet_distance(*moments)), rel=1e-3)


def test_blur_keeps_the_mean_and_takes_detail_away():
    grey = np.random.default_rng(0).integers(64, 192, (20, 32, 32, 3), dtype=np.uint8)
    light, strong = (blurred(grey, strength).astype(float) for strength in ("light", "strong"))
    assert abs(light.mean() - grey.mean()) < 1
    assert abs(strong.mean() - grey.mean()) < 1
    # White noise under a Gaussian kernel keeps 1 / (4 pi sigma^2) of its variance; sigma = 0.04 * 32.
    assert light[:, 6:-6, 6:-6].var() / grey.var() == pytest.approx(1 / (4 * np.pi * 1.28**2), rel=0.1)
    assert strong.var() < light.var() / 4


def test_noise_has_the_stated_deviation_and_is_always_the_same():
    grey = np.full((50, 16, 16, 1), 128, np.uint8)
    light = noised(grey, "light")
    np.testing.assert_array_equal(light, noised(grey, "light"))
    assert light.std() == pytest.approx(0.08 * 255, rel=0.03)
    assert light.dtype == np.uint8
    assert noised(grey, "strong").min() >= 0
