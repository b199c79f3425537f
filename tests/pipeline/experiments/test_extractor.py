"""What the network of an extractor learns from: labels, or rotations without labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ngldm.data.dataset import AboutPoints, Dataset
from ngldm.io.items import Items
from ngldm.io.tensors import to_float
from ngldm.pipeline.experiments.extractor import further_reference, heldout_accuracy, kept_tests, training_set
from ngldm.scoring.features.classifier import Classifier, ClassifierExtractor, save_classifier
from ngldm.scoring.further.spectrum import radial_spectrum

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 0, 1])
DATA = Dataset("made", IMAGES, IMAGES, LABELS, LABELS)


class Constant(nn.Module):
    """Always gives class 0 the highest score."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(images), 4)


class Plain:
    """An extractor that knows no classes."""

    name, metric, dim, weights_sha256 = "inception", "fid", 1, "0"

    def __call__(self, images: Items) -> torch.Tensor:
        return torch.zeros(len(images), 1)


KNOWS_NOTHING = Plain()


def test_a_classifier_learns_the_labels_of_the_images() -> None:
    classes, split = training_set(DATA, "classifier")
    images, labels = split.fetch(np.array([5, 2]))
    assert (classes, split.size) == (3, 6)
    assert labels.tolist() == [1, 2]
    np.testing.assert_allclose(images[:, 0], IMAGES[[5, 2], :, :, 0] / 127.5 - 1, atol=1e-6)


def test_a_classifier_also_learns_what_is_held_out_of_the_training_images() -> None:
    tail = replace(DATA, train=IMAGES[:4], train_labels=LABELS[:4], held_out=IMAGES[4:], held_out_labels=LABELS[4:])
    classes, split = training_set(tail, "classifier")
    images, labels = split.fetch(np.array([5, 0, 4]))
    assert (classes, split.size) == (3, 6)
    assert labels.tolist() == LABELS[[5, 0, 4]].tolist()
    np.testing.assert_allclose(images[:, 0], IMAGES[[5, 0, 4], :, :, 0] / 127.5 - 1, atol=1e-6)


def test_the_kept_head_finds_the_same_classes_as_the_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Classifier((1, 4, 4), 3, width=4, dim=5)
    model.standardise(IMAGES)
    save_classifier(model, tmp_path / "classifier.safetensors")
    extractor = ClassifierExtractor(tmp_path / "classifier.safetensors")
    features = extractor(IMAGES)
    kept = further_reference(DATA, torch.arange(len(IMAGES)), features, extractor)
    logits = features.numpy() @ kept["class_weight"].T + kept["class_bias"]
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(to_float(IMAGES)).numpy(), atol=1e-5)


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


def test_of_images_features_labels_and_spectrum_are_kept_in_one_order() -> None:
    chosen = kept_tests(len(DATA.test))
    kept = further_reference(DATA, chosen, chosen.float()[:, None], KNOWS_NOTHING)
    assert kept["class_weight"].shape == (0, 1)
    order = kept["test_features"][:, 0].astype(int)
    assert sorted(order) == list(range(len(DATA.test)))
    np.testing.assert_array_equal(kept["test_labels"], DATA.test_labels[order])
    np.testing.assert_array_equal(kept["spectrum"], radial_spectrum(DATA.train))


def test_of_points_the_points_are_kept_and_the_centres_of_their_modes() -> None:
    train, test = (np.random.default_rng(seed).normal(size=(60, 2)).astype(np.float32) for seed in range(2))
    labels = np.zeros(60, np.int64)
    for centres, shape in (((), (0, 2)), (((1.0, 2.0), (3.0, 4.0)), (2, 2))):
        data = Dataset("points", train, test, labels, labels, AboutPoints("none", ["a", "b"], centres))
        kept = further_reference(data, torch.arange(60), torch.zeros(60, 2), KNOWS_NOTHING)
        assert kept["centres"].shape == shape
        assert np.array_equal(kept["train"], train)
        assert np.array_equal(kept["test"], test)
