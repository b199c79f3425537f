"""Square crops of the two photographs that come with scikit-learn."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ngldm.data.dataset import Dataset
from ngldm.io.errors import InputError
from ngldm.io.files import entry
from ngldm.io.images import UInt8Array

NAMES = ("china.jpg", "flower.jpg")
TRAINING = 0.8  # share of a photograph's width, from the left
BANDS = 4  # of equal height, from the top: sky, roofs, ... So the crops have classes, and an extractor can learn them


def photographs(config: Mapping[str, object]) -> Dataset:
    """Grey crops of scikit-learn's two photographs of 640 x 427 pixels; nothing is downloaded.

    Real photographs have much more power at low frequencies than at high ones, digits less so: noise of a colour can be
    studied with them. Training crops lie in the left 80 % of a photograph, test crops in the right 20 %, so no pixel is
    in both. Half of the crops are of each photograph, at random places, and may overlap. The label says which picture
    (0 or 1) and in which of four bands the middle of the crop lies: 4 * picture + band.

    Args:
        config: train_size and test_size (crops), size (side of a crop in pixels) and seed (of the places).

    Raises:
        InputError: a crop that does not fit into the test part.
    """
    from sklearn.datasets import load_sample_image

    size, seed = entry(config, "size", int), entry(config, "seed", int)
    pictures = [np.asarray(Image.fromarray(load_sample_image(name)).convert("L")) for name in NAMES]
    parts = {split: [_part(picture, split) for picture in pictures] for split in ("train", "test")}
    largest = min(min(part.shape) for part in parts["test"])
    if not 4 <= size <= largest:
        raise InputError(f"dataset.size: {size} must lie between 4 and {largest}, the width of the test part in pixels")
    drawn, labels = {}, {}
    for number, split in enumerate(("train", "test")):
        count = entry(config, f"{split}_size", int)
        if count < len(NAMES):
            raise InputError(f"dataset.{split}_size: {count} must be at least {len(NAMES)}, one of each")
        drawn[split], labels[split] = _crops(parts[split], count, size, np.random.default_rng([seed, number]))
    return Dataset("photographs", drawn["train"], drawn["test"], labels["train"], labels["test"])


def _part(picture: UInt8Array, split: str) -> UInt8Array:
    edge = round(TRAINING * picture.shape[1])
    return picture[:, :edge] if split == "train" else picture[:, edge:]


def _crops(
    pictures: list[UInt8Array], count: int, size: int, generator: np.random.Generator
) -> tuple[UInt8Array, NDArray[np.int64]]:
    """(count, size, size, 1), from the pictures in turn, and their labels (count,)."""
    crops, labels = np.empty((count, size, size, 1), np.uint8), np.empty(count, np.int64)
    for index in range(count):
        number = index % len(pictures)
        picture = pictures[number]
        top, left = (int(generator.integers(length - size + 1)) for length in picture.shape)
        crops[index, ..., 0] = picture[top : top + size, left : left + size]
        labels[index] = BANDS * number + BANDS * (top + size // 2) // len(picture)
    return crops, labels
