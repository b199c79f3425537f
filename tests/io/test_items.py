"""Images and points are told apart by their numbers, and shown as pictures."""

import numpy as np
import pytest
import torch

from ngldm.io.images import sample_grid, trajectory_grid
from ngldm.io.items import (
    SIDE,
    as_images,
    as_points,
    class_picture,
    density,
    item_shape,
    noun,
    picture,
    trajectory_picture,
)
from ngldm.io.tensors import to_float, to_items, to_tensor

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
POINTS = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)


def test_the_type_of_the_numbers_tells_the_kind():
    assert (noun(IMAGES), noun(POINTS)) == ("images", "points")
    assert (item_shape(IMAGES), item_shape(POINTS)) == ((3, 5, 4), (2,))
    with pytest.raises(TypeError, match="images are uint8"):
        as_images(POINTS)
    with pytest.raises(TypeError, match="points are float32"):
        as_points(IMAGES)


@pytest.mark.parametrize("items", [IMAGES, POINTS])
def test_items_come_back_from_tensors(items):
    tensor = to_tensor(items)
    assert tensor.shape[1:] == item_shape(items)
    assert tensor.dtype == torch.float32
    assert np.array_equal(to_items(tensor), items)


def test_images_are_converted_and_shown_as_before():
    assert torch.equal(to_tensor(IMAGES), to_float(IMAGES))
    assert np.array_equal(picture(IMAGES, 2, 3), sample_grid(IMAGES, 2, 3))
    assert np.array_equal(trajectory_picture(IMAGES[None]), trajectory_grid(IMAGES[None]))


def test_a_picture_of_points_is_bright_where_they_lie():
    shown = density(np.concatenate([POINTS * 0.1 - 3.0, POINTS * 0.1 + 3.0]))
    assert (shown.shape, shown.dtype, shown.max()) == ((SIDE, SIDE, 1), np.uint8, 255)
    half = SIDE // 2
    lower_left, upper_right = shown[half:, :half].sum(), shown[:half, half:].sum()
    assert lower_left > 0
    assert upper_right > 0
    assert shown[:half, :half].sum() + shown[half:, half:].sum() < 0.01 * (lower_left + upper_right)


@pytest.mark.parametrize("points", [POINTS[:, :1], np.zeros((10, 2), np.float32), POINTS[:1]])
def test_points_on_a_line_or_at_one_place_have_a_picture(points):
    assert density(points).max() == 255


def test_a_trajectory_of_points_is_a_row_of_pictures():
    shown = trajectory_picture(np.stack([POINTS, POINTS, POINTS]))
    assert shown.shape[0] < 1.1 * SIDE
    assert shown.shape[1] > 3 * SIDE


def test_a_picture_of_classes_has_a_row_for_each():
    images = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(2, 2)
    shown = class_picture(images, np.array([1, 0, 1, 0, 1, 2]), rows=2)
    assert np.array_equal(shown, sample_grid(images[[1, 3, 0, 2]], 2, 2))
    assert np.array_equal(class_picture(images, None), picture(images))
    one_of_a_class = class_picture(images, np.array([1, 0, 1, 0, 1, 2]))
    assert np.array_equal(one_of_a_class, picture(images))
