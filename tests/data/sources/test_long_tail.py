"""A long tail: how many images each class keeps, and that none is lost, doubled or given another label."""

from collections import Counter

import numpy as np
import pytest

from ngldm.data.dataset import open_dataset
from ngldm.data.sources import long_tail as module
from ngldm.data.sources.long_tail import long_tail
from ngldm.data.sources.registry import make_dataset
from ngldm.io.errors import InputError


def make(tmp_path, name="set", **options):
    return make_dataset({"name": "digits", "test_size": 297, "seed": 0, **options}, tmp_path / name, tmp_path / "raw")


def pairs(*splits):
    return Counter((bytes(image), int(k)) for images, labels in splits for image, k in zip(images, labels, strict=True))


def write(folder, labels):
    folder.mkdir()
    images = np.arange(len(labels) * 16).reshape(-1, 4, 4, 1).astype(np.uint8)
    np.save(folder / "train.npy", images)
    np.save(folder / "train_labels.npy", np.array(labels, np.int64))
    return images


def test_a_class_keeps_the_first_class_times_a_power_of_the_factor(tmp_path):
    found = make(tmp_path, long_tail=0.7)
    whole = make(tmp_path, "whole")
    first = int((whole.train_labels == 0).sum())
    assert np.bincount(found.train_labels).tolist() == [round(first * 0.7**c) for c in range(10)]


def test_what_is_left_out_is_held_out_and_the_test_images_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 64)
    whole, found = make(tmp_path, "whole"), make(tmp_path, long_tail=0.5)
    kept = (found.train, found.train_labels), (found.held_out, found.held_out_labels)
    assert pairs(*kept) == pairs((whole.train, whole.train_labels))
    assert np.array_equal(found.test, whole.test)
    assert np.array_equal(found.test_labels, whole.test_labels)
    assert whole.held_out is None
    assert found.train.dtype == found.held_out.dtype == np.uint8


def test_the_seed_chooses_the_images(tmp_path):
    images = write(tmp_path / "a", [0] * 20 + [1] * 20)
    for name in "bc":
        write(tmp_path / name, [0] * 20 + [1] * 20)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        long_tail(tmp_path / name, 0.5, seed)
    first, same, other = (np.load(tmp_path / name / "train.npy") for name in "abc")
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert len(first) == len(other) == 30
    assert np.array_equal(first[:20], images[:20])


def test_a_small_class_keeps_one_image_and_no_class_grows(tmp_path):
    write(tmp_path / "a", [0] * 10 + [1] * 2 + [2] * 10)
    long_tail(tmp_path / "a", 0.1, 0)
    assert np.bincount(np.load(tmp_path / "a" / "train_labels.npy")).tolist() == [10, 1, 1]
    write(tmp_path / "b", [0] * 10 + [1] * 2 + [2] * 20)
    long_tail(tmp_path / "b", 1.0, 0)
    assert np.bincount(np.load(tmp_path / "b" / "train_labels.npy")).tolist() == [10, 2, 10]


def test_if_all_images_stay_nothing_is_held_out(tmp_path):
    images = write(tmp_path / "a", [0, 1] * 5)
    long_tail(tmp_path / "a", 1.0, 0)
    assert np.array_equal(np.load(tmp_path / "a" / "train.npy"), images)
    assert not (tmp_path / "a" / "held_out.npy").exists()


@pytest.mark.parametrize("factor", [0.0, -0.5, 1.01, float("nan")])
def test_a_factor_out_of_range_is_refused(tmp_path, factor):
    write(tmp_path / "a", [0, 1] * 5)
    with pytest.raises(InputError, match=r"^dataset\.long_tail: .* must be above 0 and at most 1$"):
        long_tail(tmp_path / "a", factor, 0)


def test_images_without_classes_are_refused(tmp_path):
    write(tmp_path / "a", [0] * 5)
    with pytest.raises(InputError, match=r"^dataset\.long_tail: 0\.7 needs images of at least two classes"):
        long_tail(tmp_path / "a", 0.7, 0)


def test_without_images_of_class_0_nothing_can_be_counted(tmp_path):
    write(tmp_path / "a", [1, 1, 1, 2, 2])
    with pytest.raises(InputError, match=r"^dataset\.long_tail: 0\.5 counts from the images of class 0"):
        long_tail(tmp_path / "a", 0.5, 0)


def test_crops_of_photographs_do_not_have_the_option(tmp_path):
    config = {"name": "photographs", "train_size": 4, "test_size": 4, "size": 8, "seed": 0, "long_tail": 0.7}
    with pytest.raises(InputError, match=r"^long_tail: not an option of data set 'photographs'"):
        make_dataset(config, tmp_path / "set", tmp_path / "raw")


def test_held_out_images_that_do_not_fit_their_labels_are_refused(tmp_path):
    make(tmp_path, long_tail=0.7)
    labels = tmp_path / "set" / "held_out_labels.npy"
    np.save(labels, np.load(labels)[:-1])
    with pytest.raises(InputError, match=r"held_out_labels\.npy: shape"):
        open_dataset(tmp_path / "set")
