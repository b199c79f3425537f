"""All further scores of images: of real ones, of copies, and of a class that is missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ngldm.scoring.further import images as further_images
from ngldm.scoring.further.images import ClassHead, RealImages, class_accuracy, image_score_names, image_scores
from ngldm.scoring.further.spectrum import radial_spectrum

GENERATOR = np.random.default_rng(0)
LABELS = torch.arange(3).repeat(100)
IMAGES = GENERATOR.integers(0, 256, (300, 8, 8, 1), np.uint8)


def features(seed: int) -> torch.Tensor:
    """Three classes far apart."""
    noise = torch.randn(300, 2, generator=torch.Generator().manual_seed(seed))
    return noise + 20.0 * torch.eye(3)[LABELS][:, :2]


REAL = RealImages(features(0), features(1), LABELS, radial_spectrum(IMAGES))


def test_fresh_images_of_the_law_score_well():
    found = image_scores(IMAGES, features(2), REAL, neighbours=3)
    assert found["density"] == pytest.approx(1.0, abs=0.15)
    assert found["coverage"] > 0.9
    assert found["memorised"] == pytest.approx(0.5, abs=0.1)
    assert (found["memorised_expected"], found["spectrum_log10"]) == (0.5, 0.0)
    assert min(found[f"{name}_class_{k}"] for name in ("coverage", "recall") for k in range(3)) > 0.85


def test_a_missing_class_is_told():
    found = image_scores(IMAGES, features(2)[LABELS != 2], REAL, neighbours=3)
    assert (found["coverage_class_2"], found["recall_class_2"]) == (0.0, 0.0)
    assert found["coverage_class_0"] > 0.85


# The classes lie around (20, 0), (0, 20) and (0, 0).
HEAD = ClassHead(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([0.0, 0.0, 10.0]))
KNOWN = replace(REAL, head=HEAD)


def test_the_share_of_a_class_is_that_among_generated_images_over_that_among_training_images():
    """Of 300 training images 100 each; generated: none of class 2 and all of class 0 and 1, so 3/2 of their share."""
    found = image_scores(IMAGES, features(2)[LABELS != 2], KNOWN, neighbours=3)
    shares = [found[f"share_class_{k}"] for k in range(3)]
    assert shares == pytest.approx([1.5, 1.5, 0.0])


def test_a_rare_class_that_is_as_rare_as_in_training_has_share_1():
    """10 of the 210 training images are of class 2, and 1 of 21 generated ones."""
    tail = replace(KNOWN, train=torch.cat([features(0)[LABELS < 2], features(0)[LABELS == 2][:10]]))
    made = torch.cat([features(2)[k == LABELS][:count] for k, count in enumerate((10, 10, 1))])
    found = image_scores(IMAGES, made, tail, neighbours=3)
    assert [found[f"share_class_{k}"] for k in range(3)] == pytest.approx([1.0, 1.0, 1.0])


def test_copies_of_one_class_are_told_of_that_class_alone():
    made = torch.cat([REAL.train[LABELS == 0], REAL.test[LABELS == 1]])
    found = image_scores(IMAGES, made, KNOWN, neighbours=3)
    assert [found[f"memorised_class_{k}"] for k in range(3)] == [1.0, 0.0, 0.0]
    assert found["memorised"] == 0.5
    assert list(found) == image_score_names(LABELS.numpy(), head=True)


def test_copies_are_told():
    assert image_scores(IMAGES, features(0), REAL, neighbours=3)["memorised"] == 1.0


def test_without_classes_there_are_no_shares_of_classes():
    real = RealImages(REAL.train, REAL.test, torch.zeros(300), REAL.spectrum)
    assert not [key for key in image_scores(IMAGES, features(2), real, neighbours=3) if "class" in key]


def test_the_wanted_scores_are_those_of_all_and_the_names_are_known_beforehand():
    every = image_scores(IMAGES, features(2), REAL, 3)
    assert list(every) == image_score_names(LABELS.numpy(), head=False)
    for few in (["coverage"], ["memorised", "recall_class_1"], ["coverage_class_0", "spectrum_log10"]):
        assert image_scores(IMAGES, features(2), REAL, 3, few) == {name: every[name] for name in few}


def test_what_is_not_wanted_is_not_computed(monkeypatch):
    """Density, coverage, memorisation and recall compare all pairs of images, which costs minutes."""
    for costly in ("coverage", "memorised", "inside"):
        monkeypatch.setattr(further_images, costly, None)
    assert set(image_scores(IMAGES, features(2), REAL, 3, ["spectrum_log10"])) == {"spectrum_log10"}


def test_the_share_of_images_in_their_class():
    found, asked = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 0, 1, 2, 0])
    assert class_accuracy(found, asked) == pytest.approx(
        {
            "class_accuracy": 0.8,
            "class_accuracy_class_0": 2 / 3,
            "class_accuracy_class_1": 1.0,
            "class_accuracy_class_2": 1.0,
        }
    )
