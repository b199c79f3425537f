"""Data sets, all in one form: uint8 images (N, H, W, C) with integer labels, split into train and test.

On disk: train.npy, test.npy, train_labels.npy, test_labels.npy and dataset.json (name, shape, counts, sha256).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ngldm.io.errors import InputError
from ngldm.io.files import atomic_directory, entry, read_json, require, sha256_file, write_json
from ngldm.io.images import UInt8Array, open_array, require_images

SPLITS = ("train", "test")
Progress = Callable[[int], None]  # told how much more of the work is done
Start = Callable[[int], Progress]  # told how much work there is
MADE_BY = "the stage `download`"
MAX_CLASSES = 1_000_000  # the classifier has an output for each class


@dataclass(frozen=True)
class Dataset:
    """Images and labels of both splits. The arrays may be memory-mapped.

    Attributes:
        name: e.g. "digits".
        train, test: (N, H, W, C) uint8.
        train_labels, test_labels: (N,) int64 class indices from 0.
    """

    name: str
    train: UInt8Array
    test: UInt8Array
    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W), the order in which networks take images."""
        height, width, channels = self.train.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """One more than the largest label."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1


def write_arrays(dataset: Dataset, folder: Path) -> None:
    """Write a data set's four arrays into an existing folder."""
    for split in SPLITS:
        np.save(folder / f"{split}.npy", getattr(dataset, split))
        np.save(folder / f"{split}_labels.npy", getattr(dataset, f"{split}_labels"))


def finish_dataset(name: str, folder: Path) -> None:
    """Write dataset.json, which describes the arrays in `folder`."""
    dataset = _open_arrays(name, folder)
    channels, height, width = dataset.image_shape
    summary = {
        "name": name,
        "image_shape": {"height": height, "width": width, "channels": channels},
        **_counts(dataset),
        "sha256": {split: sha256_file(folder / f"{split}.npy") for split in SPLITS},
    }
    write_json(folder / "dataset.json", summary)


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write a data set's folder, whole or not at all."""
    with atomic_directory(path) as folder:
        write_arrays(dataset, folder)
        finish_dataset(dataset.name, folder)


def open_dataset(path: Path) -> Dataset:
    """A saved data set, its arrays memory-mapped.

    Raises:
        InputError: the folder or one of its files is missing or damaged.
    """
    file = require(path, MADE_BY) / "dataset.json"
    about = read_json(file, "name")
    dataset = _open_arrays(entry(about, "name", str, file), path)
    for key, found in _counts(dataset).items():
        if key in about and entry(about, key, int, file) != found:
            raise InputError(f"{file}: {key}: {about[key]}, but the arrays beside it have {found}")
    return dataset


def _counts(dataset: Dataset) -> dict[str, int]:
    """What dataset.json says of the arrays."""
    return {"num_classes": dataset.num_classes, **{split: len(getattr(dataset, split)) for split in SPLITS}}


def require_dataset(path: Path, dataset: Dataset) -> None:
    """Check a data set's arrays: shapes, counts and labels.

    Raises:
        InputError: what is wrong, and in which file.
    """
    for split in SPLITS:
        images, labels = getattr(dataset, split), getattr(dataset, f"{split}_labels")
        require_images(path / f"{split}.npy", images)
        if labels.shape != (len(images),):
            raise InputError(f"{path / split}_labels.npy: shape {labels.shape}, must be ({len(images)},)")
        if labels.min() < 0:
            raise InputError(f"{path / split}_labels.npy: label {labels.min()} must be at least 0")
        if labels.max() >= MAX_CLASSES:
            raise InputError(f"{path / split}_labels.npy: label {labels.max()} must be below {MAX_CLASSES}")
    if dataset.train.shape[1:] != dataset.test.shape[1:]:
        shapes = f"{dataset.train.shape[1:]} in train.npy, {dataset.test.shape[1:]} in test.npy"
        raise InputError(f"{path}: images of different shapes (H, W, C): {shapes}")


def _open_arrays(name: str, path: Path) -> Dataset:
    train, test = (open_array(path / f"{split}.npy", np.uint8, MADE_BY) for split in SPLITS)
    train_labels, test_labels = (open_array(path / f"{split}_labels.npy", np.int64, MADE_BY) for split in SPLITS)
    dataset = Dataset(name, train, test, train_labels, test_labels)
    require_dataset(path, dataset)
    return dataset
