"""What the network of an extractor learns from: labels, or rotations without labels."""

import numpy as np
import torch
from torch import nn

from ngldm.data.dataset import Dataset
from ngldm.pipeline.experiments.extractor import heldout_accuracy, training_set

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 0, 1])
DATA = Dataset("made", IMAGES, IMAGES, LABELS, LABELS)


class Constant(nn.Module):
    """Always gives class 0 the highest score."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(images), 4)


def test_a_classifier_learns_the_labels_of_the_images() -> None:
    classes, split = training_set(DATA, "classifier")
    images, labels = split.fetch(np.array([5, 2]))
    assert (classes, split.size) == (3, 6)
    assert labels.tolist() == [1, 2]
    np.testing.assert_allclose(images[:, 0], IMAGES[[5, 2], :, :, 0] / 127.5 - 1, atol=1e-6)


def test_without_labels_each_image_is_learned_in_all_four_rotations() -> None:
    classes, split = training_set(DATA, "rotation")
    images, turns = split.fetch(np.arange(24))
    assert (classes, split.size) == (4, 24)
    assert turns.bincount().tolist() == [6, 6, 6, 6]
    for number in range(24):
        expected = np.rot90(IMAGES[number % 6, :, :, 0], int(turns[number])) / 127.5 - 1
        np.testing.assert_allclose(images[number, 0], expected, atol=1e-6)


def test_accuracy_is_the_share_of_right_labels_or_rotations() -> None:
    assert heldout_accuracy(Constant(), DATA, "classifier") == 0.5
    assert heldout_accuracy(Constant(), DATA, "rotation") == 0.25
