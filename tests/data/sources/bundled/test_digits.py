"""scikit-learn's digits: all of them once, each class in its share, the same split for the same seed."""

from collections import Counter

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ngldm.data.dataset import Dataset
from ngldm.data.sources.bundled.digits import digits as load_split
from ngldm.io.errors import InputError

ARRAYS = ("train", "test", "train_labels", "test_labels")


def make_digits(test_size: object = 297, seed: int = 0) -> Dataset:
    return load_split({"test_size": test_size, "seed": seed})


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return make_digits()


def same(a: Dataset, b: Dataset) -> bool:
    return all(np.array_equal(getattr(a, key), getattr(b, key)) for key in ARRAYS)


def test_digits_shapes_types_and_counts(digits):
    assert digits.name == "digits"
    assert digits.train.shape == (1500, 8, 8, 1)
    assert digits.test.shape == (297, 8, 8, 1)
    assert digits.train.dtype == digits.test.dtype == np.uint8
    assert (digits.train_labels.shape, digits.test_labels.shape) == ((1500,), (297,))
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    assert digits.image_shape == (1, 8, 8)
    assert digits.num_classes == 10


@pytest.mark.parametrize(("test_size", "seed"), [(297, 0), (297, 5), (100, 0)])
def test_each_class_has_its_share_of_the_test_split(test_size, seed):
    """Within one image of the exact share."""
    dataset = make_digits(test_size, seed)
    total = np.bincount(load_digits().target)
    share = test_size * total / total.sum()
    assert np.abs(np.bincount(dataset.test_labels) - share).max() <= 1.0
    np.testing.assert_array_equal(np.bincount(dataset.train_labels) + np.bincount(dataset.test_labels), total)


def test_split_is_the_same_for_the_same_seed(digits):
    assert same(make_digits(), digits)


def test_split_differs_for_another_seed(digits):
    other = make_digits(seed=1)
    assert not np.array_equal(other.test, digits.test)
    assert not np.array_equal(np.sort(other.test.reshape(297, -1), 0), np.sort(digits.test.reshape(297, -1), 0))


def test_values_are_the_17_grey_levels_from_0_to_255(digits):
    values = np.unique(np.concatenate([digits.train, digits.test]))
    assert values.tolist() == [round(255 * level / 16) for level in range(17)]


def test_every_digit_is_in_one_split_once_with_its_label(digits):
    raw = load_digits()
    expected = Counter((bytes(i.astype(np.uint8)), int(label)) for i, label in zip(raw.images, raw.target, strict=True))
    images = np.concatenate([digits.train, digits.test])
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    levels = np.rint(images / 255 * 16).astype(np.uint8)
    assert Counter((bytes(i), int(label)) for i, label in zip(levels, labels, strict=True)) == expected


@pytest.mark.parametrize("test_size", [-1, 0, 9, 1788, 1797, 5000])
def test_test_size_out_of_range_is_refused(test_size):
    with pytest.raises(InputError, match=rf"dataset\.test_size: {test_size} "):
        make_digits(test_size)


def test_a_test_size_that_is_no_whole_number_is_refused():
    with pytest.raises(InputError, match=r"^test_size: 0\.2 is not a value of type int"):
        make_digits(0.2)


@pytest.mark.parametrize("test_size", [10, 11, 1786, 1787])
def test_extreme_test_sizes_leave_every_class_on_both_sides(test_size):
    dataset = make_digits(test_size)
    assert (len(dataset.train), len(dataset.test)) == (1797 - test_size, test_size)
    assert set(dataset.train_labels) == set(dataset.test_labels) == set(range(10))
