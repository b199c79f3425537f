"""Training data for an extractor without labels.

The network learns to tell by how many quarter turns an image was rotated (Gidaris et al. 2018).
"""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ngldm.io.images import UInt8Array
from ngldm.scoring.features.classifier import accuracy


def quarter_turns(image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """The numbers of quarter turns that keep the shape of images (C, H, W): four, or two if H and W differ."""
    return (0, 1, 2, 3) if image_shape[1] == image_shape[2] else (0, 2)


def rotated(
    images: UInt8Array, index: NDArray[np.int64], turns: tuple[int, ...]
) -> tuple[UInt8Array, NDArray[np.int64]]:
    """Rotated images, and the class of each.

    The set of rotated images has N * len(turns) items: first all images rotated by `turns[0]`, then all images rotated
    by `turns[1]`, and so on.

    Args:
        images: (N, H, W, C).
        index: (B,) items of that set, from 0.
        turns: result of `quarter_turns`.

    Returns:
        Images (B, H, W, C), and their classes (B,): indices into `turns`.
    """
    kinds, numbers = np.divmod(index, len(images))
    chosen = np.array(images[numbers])
    for kind, turn in enumerate(turns):
        chosen[kinds == kind] = np.rot90(chosen[kinds == kind], turn, (1, 2))
    return chosen, kinds


def rotation_accuracy(model: nn.Module, images: UInt8Array, turns: tuple[int, ...]) -> float:
    """Share of the rotated images (N, H, W, C) for which the network finds the right class, over all rotations."""
    shares = [
        accuracy(model, np.rot90(images, turn, (1, 2)), np.full(len(images), kind)) for kind, turn in enumerate(turns)
    ]
    return float(np.mean(shares))
