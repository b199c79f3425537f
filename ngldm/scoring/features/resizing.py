"""Resizing of images to a network's input, by PIL's bicubic filter, which averages when it makes an image smaller.

Scores depend on it (Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation").
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ngldm.io.errors import unknown
from ngldm.io.images import UInt8Array
from ngldm.scoring.features.names import RESIZINGS


def check_resizing(name: str) -> str:
    """The name, if it is one of `RESIZINGS`.

    Raises:
        InputError: it is not.
    """
    if name not in RESIZINGS:
        raise unknown("evaluate.resizing", name, RESIZINGS)
    return name


def pil_bicubic(images: UInt8Array, side: int, *, rounded: bool) -> Tensor:
    """uint8 images (B, H, W, 3 or 1) as float32 (B, 3, side, side) in [0, 255].

    Args:
        rounded: to whole numbers, as PIL resizes uint8 images. If not, each channel is resized in floating point and
            then clipped to [0, 255], as clean-fid does.
    """
    channels = [[_resized(channel, side, rounded) for channel in np.moveaxis(image, -1, 0)] for image in images]
    x = torch.from_numpy(np.array(channels, np.float32).reshape(len(images), -1, side, side))
    return x.expand(-1, 3, -1, -1)


def _resized(channel: UInt8Array, side: int, rounded: bool) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """One channel (H, W) as (side, side)."""
    image = Image.fromarray(channel if rounded else channel.astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32).clip(0.0, 255.0)
