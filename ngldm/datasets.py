"""Data sets, all in one form: uint8 images (N, H, W, C) with integer labels, split into train and test.

On disk: train.npy, test.npy, train_labels.npy, test_labels.npy and dataset.json (name, shape, counts, sha256).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ngldm.errors import InputError
from ngldm.files import atomic_directory, read_json, require, sha256_file, write_json
from ngldm.images import UInt8Array

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Dataset:
    """Images and labels of both splits; arrays may be memory-mapped.

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
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1


def digits(config: Mapping[str, Any]) -> Dataset:
    """scikit-learn's 1797 handwritten 8x8 digits, embedded in that package; nothing is downloaded.

    Args:
        config: test_size (images in the test split, the same share of each class) and seed (of the split).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    raw = load_digits()
    images = np.rint(raw.images * (255.0 / 16.0)).astype(np.uint8)[..., None]  # 17 grey levels, 0..16
    labels = raw.target.astype(np.int64)
    if not raw.target_names.size <= config["test_size"] <= len(images) - raw.target_names.size:
        raise InputError(
            f"dataset.test_size: {config['test_size']} must leave at least one image of each class on both sides "
            f"of the {len(images)} digits"
        )
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=config["test_size"], random_state=config["seed"], stratify=labels
    )
    return Dataset("digits", train, test, train_labels, test_labels)


class NpyAppender:
    """A .npy file of uint8 rows written one after another, so that a data set larger than memory passes through.

    Args:
        row: shape of a row.
    """

    def __init__(self, path: Path, row: tuple[int, ...]) -> None:
        self.row, self.count = row, 0
        self.file = path.open("wb")
        self._header()

    def _header(self) -> None:
        # numpy pads the header so that the first axis can grow: it keeps its length.
        np.lib.format.write_array_header_1_0(
            self.file, {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.row)}
        )

    def append(self, rows: UInt8Array) -> None:
        """Add (n, *row)."""
        if rows.shape[1:] != self.row or rows.dtype != np.uint8:
            raise ValueError(f"rows of {rows.dtype} {rows.shape[1:]} in a file of uint8 {self.row}")
        self.file.write(rows.tobytes())
        self.count += len(rows)

    def __enter__(self) -> "NpyAppender":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.seek(0)
        self._header()
        self.file.close()


def write_arrays(dataset: Dataset, folder: Path) -> None:
    """A data set's four arrays into an existing folder."""
    for split in SPLITS:
        np.save(folder / f"{split}.npy", getattr(dataset, split))
        np.save(folder / f"{split}_labels.npy", getattr(dataset, f"{split}_labels"))


def finish_dataset(name: str, folder: Path) -> None:
    """Describe the arrays in `folder` in its dataset.json."""
    dataset = _open_arrays(name, folder)
    channels, height, width = dataset.image_shape
    summary = {
        "name": name,
        "image_shape": {"height": height, "width": width, "channels": channels},
        "num_classes": dataset.num_classes,
        **{split: len(getattr(dataset, split)) for split in SPLITS},
        "sha256": {split: sha256_file(folder / f"{split}.npy") for split in SPLITS},
    }
    write_json(folder / "dataset.json", summary)


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write a data set's folder, whole or not at all."""
    with atomic_directory(path) as folder:
        write_arrays(dataset, folder)
        finish_dataset(dataset.name, folder)


def open_dataset(path: Path) -> Dataset:
    """A saved data set, its images memory-mapped.

    Raises:
        InputError: the folder or one of its files is missing or damaged.
    """
    name = read_json(require(path, "the stage `download`") / "dataset.json", "name")["name"]
    return _open_arrays(name, path)


def _open_arrays(name: str, path: Path) -> Dataset:
    arrays = {}
    for key in (*SPLITS, *(f"{split}_labels" for split in SPLITS)):
        file = require(path / f"{key}.npy", "the stage `download`")
        try:
            arrays[key] = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{file}: not a whole .npy file ({error})") from error
    return Dataset(name, **arrays)
