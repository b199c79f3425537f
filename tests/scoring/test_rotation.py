"""Images without labels: rotations as classes, by the same network; and which extractor a setting means."""

import numpy as np
import pytest
import torch
from PIL import Image

from ngldm.io.errors import InputError
from ngldm.scoring.features.classifier import Classifier, ClassifierExtractor, save_classifier
from ngldm.scoring.features.extractor import choose_extractor, make_extractor
from ngldm.scoring.rotation import quarter_turns, rotated, rotation_accuracy

RNG = np.random.default_rng(0)
TRANSPOSE = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


@pytest.mark.parametrize("channels", [1, 3])
def test_rotations_are_pillow_s(channels):
    images = RNG.integers(0, 256, (5, 6, 6, channels), dtype=np.uint8)
    turns = quarter_turns((channels, 6, 6))
    assert turns == (0, 1, 2, 3)
    found, kinds = rotated(images, np.arange(20)[::-1].copy(), turns)
    for item, kind, number in zip(found, kinds, range(19, -1, -1), strict=True):
        assert kind == number // 5
        picture = Image.fromarray(images[number % 5].squeeze())
        expected = picture.transpose(TRANSPOSE[kind]) if kind else picture
        np.testing.assert_array_equal(item.squeeze(), np.asarray(expected))


def test_images_that_are_not_square_keep_their_shape():
    images = RNG.integers(0, 256, (3, 4, 7, 1), dtype=np.uint8)
    turns = quarter_turns((1, 4, 7))
    found, kinds = rotated(images, np.arange(6), turns)
    assert found.shape == (6, 4, 7, 1)
    assert kinds.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(found[3:], images[:, ::-1, ::-1])


def test_accuracy_of_rotations_of_a_network_that_sees_the_bright_corner():
    """A bright corner moves counter-clockwise with each quarter turn, from the top left to the bottom left and on."""

    class Corners(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0, 0, 0], x[:, 0, -1, 0], x[:, 0, -1, -1], x[:, 0, 0, -1]], 1)

    images = np.zeros((7, 8, 8, 1), np.uint8)
    images[:, 0, 0] = 255
    assert rotation_accuracy(Corners(), images, (0, 1, 2, 3)) == 1.0
    images[:2] = 0  # nothing to see: always the first class
    assert rotation_accuracy(Corners(), images, (0, 1, 2, 3)) == pytest.approx((5 * 4 + 2) / 28)


@pytest.mark.parametrize(
    ("name", "labels", "chosen"),
    [
        ("auto", [0, 1, 2], "classifier"),
        ("auto", [0, 5], "classifier"),
        ("auto", [0, 0, 0], "rotation"),
        ("auto", [3], "rotation"),
        ("rotation", [0, 1], "rotation"),
        ("inception", [0, 0], "inception"),
        ("classifier", [0, 1], "classifier"),
    ],
)
def test_auto_takes_labels_where_there_are_classes(name, labels, chosen):
    assert choose_extractor(name, np.array(labels)) == chosen


@pytest.mark.parametrize("labels", [[0, 0, 0], [4], [2, 2]])
def test_a_classifier_of_one_class_is_refused_with_what_to_do(labels):
    with pytest.raises(InputError, match=r"evaluate\.extractor: classifier.*two classes.*have 1.*auto"):
        choose_extractor("classifier", np.array(labels))


def test_the_file_says_what_it_learned(tmp_path):
    for name in ("classifier", "rotation"):
        save_classifier(Classifier((1, 8, 8), 4, 4, 8), tmp_path / name, name)
        extractor = ClassifierExtractor(tmp_path / name)
        assert (extractor.name, extractor.metric) == (name, f"fd_{name}")
        assert make_extractor(name, classifier=tmp_path / name).name == name
    for name, other in (("classifier", "rotation"), ("rotation", "classifier")):
        with pytest.raises(InputError, match=rf"{name}.*holds the extractor {other}.*stage `reference`"):
            make_extractor(name, classifier=tmp_path / other)
