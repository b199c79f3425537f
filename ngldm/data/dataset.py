"""Data sets, all in one form: images, uint8 (N, H, W, C), or points, float32 (N, d), with integer labels.

On disk: train.npy, test.npy, train_labels.npy, test_labels.npy and dataset.json (name, shape, counts, sha256). A data
set of points also has points.json (`AboutPoints`). One with a long tail of classes also has held_out.npy and
held_out_labels.npy, the training images that were left out. If only a sample of the training images is kept as pixels,
there is also shards.json (`ngldm.data.sources.shards.manifest`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ngldm.io.errors import InputError
from ngldm.io.files import (
    atomic_directory,
    entry,
    read_json,
    require,
    require_unchanged,
    sha256_file,
    write_described,
    write_json,
)
from ngldm.io.images import open_array, require_images
from ngldm.io.items import Items, as_images, as_points, item_shape, open_items, require_points

SPLITS = ("train", "test")
HELD_OUT = "held_out"
Progress = Callable[[int], None]  # told how much more of the work is done
Start = Callable[[int], Progress]  # told how much work there is
MADE_BY = "the stage `download`"
ABOUT = "points.json"
SHARDS = "shards.json"  # of a data set whose training images are not all kept as pixels
LAYOUT = "layout.json"  # of a data set that comes from folders; it names the classes
MAX_CLASSES = 1_000_000  # the classifier has an output for each class
CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "fashion_mnist": (
        *("t-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
}


@dataclass(frozen=True)
class AboutPoints:
    """What is known of a data set of points.

    Attributes:
        transform: "none", "soft_log" or "soft_log_radius" (`ngldm.networks.autoencoders.transforms`); models are
            trained on transformed points and give points that are transformed back.
        columns: a name per column.
        centres: of the modes, (K, d); empty if there are none or they are not known.
    """

    transform: str
    columns: Sequence[str]
    centres: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Dataset:
    """Images or points, and labels, of both splits. The arrays may be memory-mapped.

    Attributes:
        name: e.g. "digits".
        train, test: (N, H, W, C) uint8 or (N, d) float32.
        train_labels, test_labels: (N,) int64 class indices from 0.
        points: what is known of points; None for images.
        held_out, held_out_labels: training images that generative models do not see (`dataset.long_tail`), for the
            network that measures; None in most data sets.
        total: number of training images if `train` is a sample of them, else None.
        named: of the classes, if the data set was opened (`open_dataset`).
    """

    name: str
    train: Items
    test: Items
    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    points: AboutPoints | None = None
    held_out: Items | None = None
    held_out_labels: NDArray[np.int64] | None = None
    total: int | None = None
    named: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for each class: its number, if it has no other."""
        return self.named or tuple(str(number) for number in range(self.num_classes))

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that there are."""
        return SPLITS if self.held_out is None else (*SPLITS, HELD_OUT)

    @property
    def num_train(self) -> int:
        """Training images or points, those included that are not kept as pixels."""
        return len(self.train) if self.total is None else self.total

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W), the order in which networks take images."""
        height, width, channels = self.train.shape[1:]
        return channels, height, width

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one item as networks take it: (C, H, W) of images, (d,) of points."""
        return item_shape(self.train)

    @property
    def encoding(self) -> dict[str, object]:
        """What the data set adds to the autoencoder's settings: for points, their transform."""
        return {} if self.points is None else {"transform": self.points.transform}

    @property
    def num_classes(self) -> int:
        """One more than the largest label."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1


def write_arrays(dataset: Dataset, folder: Path) -> None:
    """Write a data set's arrays, and what is known of points, into an existing folder."""
    if dataset.points is not None:
        write_json(folder / ABOUT, asdict(dataset.points))
    for split in dataset.splits:
        np.save(folder / f"{split}.npy", getattr(dataset, split))
        np.save(folder / f"{split}_labels.npy", getattr(dataset, f"{split}_labels"))


def finish_dataset(name: str, folder: Path) -> None:
    """Write dataset.json, which describes the arrays in `folder`."""
    dataset = _open_arrays(name, folder)
    shape: dict[str, object] = {"dim": dataset.train.shape[1]}
    if dataset.points is None:
        channels, height, width = dataset.image_shape
        shape = {"image_shape": {"height": height, "width": width, "channels": channels}}
    summary = {
        "name": name,
        **shape,
        **_counts(dataset),
        "sha256": {split: sha256_file(folder / f"{split}.npy") for split in dataset.splits},
    }
    others = [*(f"{split}_labels.npy" for split in dataset.splits), ABOUT, LAYOUT, SHARDS]
    write_described(folder / "dataset.json", summary, others, key="labels_sha256")


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
    arrays = {
        f"{split}.npy": known
        for split, known in (entry(about, "sha256", dict, file) if "sha256" in about else {}).items()
    }
    require_unchanged(file, "arrays", {"arrays": arrays})
    require_unchanged(file, "labels_sha256", about)
    return replace(dataset, named=class_names(path, dataset.name, dataset.num_classes))


def class_names(folder: Path, name: str, count: int) -> tuple[str, ...]:
    """`count` different names; the classes' numbers if nothing names as many.

    Args:
        folder: of the data set.
        name: of the data set.
    """
    names = CLASS_NAMES.get(name, ())
    if (folder / LAYOUT).is_file():
        names = tuple(str(kind["name"]) for kind in entry(read_json(folder / LAYOUT), "classes", list))
    return names if len(set(names)) == len(names) == count else tuple(str(number) for number in range(count))


def _counts(dataset: Dataset) -> dict[str, int]:
    """What dataset.json says of the arrays."""
    return {"num_classes": dataset.num_classes, **{split: len(getattr(dataset, split)) for split in dataset.splits}}


def require_dataset(path: Path, dataset: Dataset) -> None:
    """Check a data set's arrays: shapes, counts and labels.

    Raises:
        InputError: what is wrong, and in which file.
    """
    for split in dataset.splits:
        items, labels = getattr(dataset, split), getattr(dataset, f"{split}_labels")
        if dataset.points is None:
            require_images(path / f"{split}.npy", as_images(items))
        else:
            require_points(path / f"{split}.npy", as_points(items), dataset.points.columns)
        if labels.shape != (len(items),):
            raise InputError(f"{path / split}_labels.npy: shape {labels.shape}, must be ({len(items)},)")
        if labels.min() < 0:
            raise InputError(f"{path / split}_labels.npy: label {labels.min()} must be at least 0")
        if labels.max() >= MAX_CLASSES:
            raise InputError(f"{path / split}_labels.npy: label {labels.max()} must be below {MAX_CLASSES}")
    if dataset.train.shape[1:] != dataset.test.shape[1:]:
        shapes = f"{dataset.train.shape[1:]} in train.npy, {dataset.test.shape[1:]} in test.npy"
        noun = "images of different shapes (H, W, C)" if dataset.points is None else "points of different shapes (d,)"
        raise InputError(f"{path}: {noun}: {shapes}")


def _open_arrays(name: str, path: Path) -> Dataset:
    points = _read_about(path / ABOUT) if (path / ABOUT).is_file() else None
    splits = (*SPLITS, HELD_OUT) if (path / f"{HELD_OUT}.npy").is_file() else SPLITS
    items = {split: open_items(path / f"{split}.npy", points is not None, MADE_BY) for split in splits}
    labels = {split: open_array(path / f"{split}_labels.npy", np.int64, MADE_BY) for split in splits}
    dataset = Dataset(
        *(name, items["train"], items["test"], labels["train"], labels["test"], points),
        held_out=items.get(HELD_OUT),
        held_out_labels=labels.get(HELD_OUT),
        total=entry(read_json(path / SHARDS), "images", int, path / SHARDS) if (path / SHARDS).is_file() else None,
    )
    require_dataset(path, dataset)
    return dataset


def _read_about(path: Path) -> AboutPoints:
    content = read_json(path)
    centres = entry(content, "centres", list)
    return AboutPoints(entry(content, "transform", str), entry(content, "columns", list), centres)
