"""A long tail of classes: fewer training images of each next class."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ngldm.data.dataset import HELD_OUT
from ngldm.data.sources.pixels.npy import NpyAppender
from ngldm.io.errors import InputError

CHUNK = 4096  # images in memory at the same time


def long_tail(folder: Path, factor: float, seed: int) -> None:
    """Move training images of a data set's folder to the split `held_out`, so that the classes have a long tail.

    Class c, from 0, keeps round(n_0 factor^c) of its images, at least one and at most all; n_0 is the number of images
    of class 0. The test images stay as they are. What is left out is kept apart, so that a network that only measures
    can still learn the rare classes (Cui et al. 2019 make long-tailed CIFAR-10 in this way).

    Args:
        folder: has train.npy and train_labels.npy, which are replaced.
        factor: above 0, at most 1, which keeps the images of all classes but what exceeds n_0.
        seed: of the choice.

    Raises:
        InputError: the factor is out of range, there are fewer than two classes, or none of the images is of class 0.
    """
    if not 0.0 < factor <= 1.0:
        raise InputError(f"dataset.long_tail: {factor} must be above 0 and at most 1")
    labels: NDArray[np.int64] = np.load(folder / "train_labels.npy")
    if len(np.unique(labels)) < 2:
        raise InputError(f"dataset.long_tail: {factor} needs images of at least two classes, these have one or none")
    if not (labels == 0).any():
        raise InputError(
            f"dataset.long_tail: {factor} counts from the images of class 0, of which there are none for training"
        )
    kept = _chosen(labels, factor, np.random.default_rng(seed))
    if kept.all():
        return
    whole = np.load(folder / "train.npy", mmap_mode="r")
    for split, chosen in (("train", kept), (HELD_OUT, ~kept)):
        with NpyAppender(folder / f"{split}.new", whole.shape[1:]) as rows:
            for start in range(0, len(whole), CHUNK):
                part = slice(start, start + CHUNK)
                rows.append(np.asarray(whole[part])[chosen[part]])
    del whole  # an open memory map would keep the file
    for split, chosen in (("train", kept), (HELD_OUT, ~kept)):
        (folder / f"{split}.new").replace(folder / f"{split}.npy")
        np.save(folder / f"{split}_labels.npy", labels[chosen])


def _chosen(labels: NDArray[np.int64], factor: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """(N,) which images stay."""
    kept = np.zeros(len(labels), bool)
    first = int((labels == 0).sum())
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        count = min(len(of_class), max(1, round(first * factor ** int(label))))
        kept[generator.permutation(of_class)[:count]] = True
    return kept
