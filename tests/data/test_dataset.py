"""Data sets on disk: whole or absent, memory-mapped, and errors that name the file."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from ngldm.data.dataset import Dataset, class_names, open_dataset, save_dataset
from ngldm.data.sources.names import SOURCE_OPTIONS
from ngldm.io.errors import InputError
from ngldm.io.files import write_json

ARRAYS = ("train", "test", "train_labels", "test_labels")


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


def test_image_shape_is_channels_height_width(small):
    assert small.image_shape == (3, 2, 4)


def test_classes_are_counted_over_both_splits(small):
    assert small.num_classes == 7


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
    labels = {
        f"{split}_labels.npy": hashlib.sha256((saved / f"{split}_labels.npy").read_bytes()).hexdigest()
        for split in hashes
    }
    assert len(content["labels_sha256"].pop("dataset.json")) == 64
    assert content == {
        "name": "small",
        "image_shape": {"height": 2, "width": 4, "channels": 3},
        "num_classes": 7,
        "train": 5,
        "test": 3,
        "sha256": hashes,
        "labels_sha256": labels,
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


@pytest.mark.parametrize(("name", "number", "wanted"), [("cifar10", 3, "cat"), ("fashion_mnist", 9, "ankle boot")])
def test_known_data_sets_have_the_names_of_their_authors(tmp_path, name, number, wanted):
    assert name in SOURCE_OPTIONS
    assert class_names(tmp_path, name, 10)[number] == wanted


def test_folders_name_their_classes(tmp_path):
    write_json(tmp_path / "layout.json", {"classes": [{"name": "cat"}, {"name": "dog"}]})
    assert class_names(tmp_path, "pets", 2) == ("cat", "dog")


@pytest.mark.parametrize("names", [["cat"], ["cat", "cat"], []])
def test_names_that_do_not_fit_give_way_to_numbers(tmp_path, names):
    write_json(tmp_path / "layout.json", {"classes": [{"name": name} for name in names]})
    assert class_names(tmp_path, "pets", 2) == ("0", "1")


def test_an_opened_data_set_knows_its_names(tmp_path):
    images, labels = np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 2, 1])
    data = Dataset("toys", images, images, labels, labels)
    assert data.class_names == ("0", "1", "2")
    save_dataset(data, tmp_path / "dataset")
    write_json(tmp_path / "dataset" / "layout.json", {"classes": [{"name": name} for name in "abc"]})
    assert open_dataset(tmp_path / "dataset").class_names == ("a", "b", "c")
