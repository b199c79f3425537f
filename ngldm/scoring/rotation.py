"""Training an extractor without labels: by which quarter turn was an image rotated (Gidaris et al. 2018)?"""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ngldm.io.images import UInt8Array
from ngldm.scoring.features.classifier import accuracy


def quarter_turns(image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """The rotations of images (C, H, W) that keep their shape, in quarter turns: all four, or two if H is not W."""
    return (0, 1, 2, 3) if image_shape[1] == image_shape[2] else (0, 2)


def rotated(
    images: UInt8Array, index: NDArray[np.int64], turns: tuple[int, ...]
) -> tuple[UInt8Array, NDArray[np.int64]]:
    """Items of the set in which each image stands once in every rotation, and the numbers of their rotations.

    Args:
        images: (N, H, W, C).
        index: (B,) of 0 to N * len(turns) - 1: number of the rotation times N, plus number of the image.
        turns: of `quarter_turns`.

    Returns:
        Images (B, H, W, C), and class indices into `turns` (B,).
    """
    kinds, numbers = np.divmod(index, len(images))
    chosen = np.array(images[numbers])
    for kind, turn in enumerate(turns):
        chosen[kinds == kind] = np.rot90(chosen[kinds == kind], turn, (1, 2))
    return chosen, kinds


def rotation_accuracy(model: nn.Module, images: UInt8Array, turns: tuple[int, ...]) -> float:
    """Share of the images' rotations that the network names rightly."""
    shares = [
        accuracy(model, np.rot90(images, turn, (1, 2)), np.full(len(images), kind)) for kind, turn in enumerate(turns)
    ]
    return float(np.mean(shares))
