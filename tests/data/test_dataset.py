"""The digits, and data sets on disk."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ngldm.data.dataset import Dataset, open_dataset, save_dataset
from ngldm.data.sources.digits import digits as load_split
from ngldm.data.sources.npy import NpyAppender
from ngldm.io.errors import InputError

ARRAYS = ("train", "test", "train_labels", "test_labels")


def make_digits(test_size: object = 297, seed: int = 0) -> Dataset:
    return load_split({"test_size": test_size, "seed": seed})


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return make_digits()


@pytest.fixture
def small() -> Dataset:
    """A data set of another shape, quick to write: 5 and 3 RGB images of 2x4 pixels."""
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 2, 4, 3), dtype=np.uint8) for n in (5, 3))
    return Dataset("small", train, test, np.arange(5), np.array([6, 0, 1]))


@pytest.fixture
def saved(small, tmp_path) -> Path:
    save_dataset(small, tmp_path / "small")
    return tmp_path / "small"


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


def test_image_shape_is_channels_height_width(small):
    assert small.image_shape == (3, 2, 4)


def test_classes_are_counted_over_both_splits(small):
    assert small.num_classes == 7


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


@pytest.mark.parametrize("test_size", [-1, 0, 9, 1788, 1797, 5000, 0.2])
def test_test_size_out_of_range_is_refused(test_size):
    with pytest.raises(InputError, match=rf"dataset\.test_size: {test_size} "):
        make_digits(test_size)


@pytest.mark.parametrize("test_size", [10, 11, 1786, 1787])
def test_extreme_test_sizes_leave_every_class_on_both_sides(test_size):
    dataset = make_digits(test_size)
    assert (len(dataset.train), len(dataset.test)) == (1797 - test_size, test_size)
    assert set(dataset.train_labels) == set(dataset.test_labels) == set(range(10))


def test_save_and_open_give_the_same_data_memory_mapped(small, saved):
    opened = open_dataset(saved)
    assert opened.name == "small"
    assert same(opened, small)
    assert isinstance(opened.train, np.memmap)
    assert isinstance(opened.test, np.memmap)
    assert opened.train.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        opened.train[0] = 0


def test_dataset_json_describes_the_files(saved):
    content = json.loads((saved / "dataset.json").read_text())
    hashes = {split: hashlib.sha256((saved / f"{split}.npy").read_bytes()).hexdigest() for split in ("train", "test")}
    assert content == {
        "name": "small",
        "image_shape": {"height": 2, "width": 4, "channels": 3},
        "num_classes": 7,
        "train": 5,
        "test": 3,
        "sha256": hashes,
    }


def test_saving_twice_gives_the_same_bytes(small, saved, tmp_path):
    """DVC compares outputs by their bytes."""
    save_dataset(small, tmp_path / "again")
    first, second = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (saved, tmp_path / "again"))
    assert first == second
    assert set(first) == {*(f"{key}.npy" for key in ARRAYS), "dataset.json"}


def error_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(path)
    return str(caught.value)


def test_missing_folder_is_named(tmp_path):
    assert str(tmp_path / "nowhere") in error_of(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [*(f"{key}.npy" for key in ARRAYS), "dataset.json"])
def test_missing_file_is_named(saved, name):
    (saved / name).unlink()
    assert str(saved / name) in error_of(saved)


@pytest.mark.parametrize("keep", [0, 3, 40, -1])
@pytest.mark.parametrize("name", [*(f"{key}.npy" for key in ARRAYS), "dataset.json"])
def test_truncated_file_is_named(saved, name, keep):
    """Cut to nothing, in the magic string, in the header, by the last byte (for JSON, the brace and its newline)."""
    content = (saved / name).read_bytes().rstrip(b"\n")
    (saved / name).write_bytes(content[:keep])
    assert str(saved / name) in error_of(saved)


@pytest.mark.parametrize("content", ["{}", "[]", "3"])
def test_dataset_json_of_another_form_is_named(saved, content):
    (saved / "dataset.json").write_text(content)
    assert str(saved / "dataset.json") in error_of(saved)


def fail_on_second_call(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = np.save, []

    def save(file: Path, array: np.ndarray) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise OSError("disk full")
        real(file, array)

    monkeypatch.setattr(np, "save", save)


def test_interrupted_save_leaves_no_folder(small, tmp_path, monkeypatch):
    fail_on_second_call(monkeypatch)
    with pytest.raises(OSError, match="disk full"):
        save_dataset(small, tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_save_keeps_the_old_folder(small, saved, monkeypatch):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    fail_on_second_call(monkeypatch)
    with pytest.raises(OSError, match="disk full"):
        save_dataset(Dataset("new", small.test, small.test, small.test_labels, small.test_labels), saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    assert list(saved.parent.iterdir()) == [saved]


def test_appended_rows_are_an_ordinary_npy_file(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (300, 2, 3), dtype=np.uint8)
    with NpyAppender(tmp_path / "a.npy", (2, 3)) as file:
        for start in range(0, 300, 7):
            file.append(rows[start : start + 7])
        with pytest.raises(ValueError, match="rows of"):
            file.append(rows[:, :1])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), rows)
    np.save(tmp_path / "b.npy", rows)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
