"""The one place that converts between float images in [-1, 1], uint8 images, grids and PNG files."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.files import atomic_path

UInt8Array = NDArray[np.uint8]


def to_float(images: UInt8Array) -> Tensor:
    """uint8 (B, H, W, C) to float32 (B, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> UInt8Array:
    """Float (B, C, H, W), nominally in [-1, 1], to uint8 (B, H, W, C): clipped, then rounded to the nearest."""
    scaled = images.detach().float().add(1.0).mul(127.5).round().clamp(0.0, 255.0)
    array: UInt8Array = scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def grid(images: UInt8Array, columns: int, padding: int = 1, background: int = 32) -> UInt8Array:
    """Images (B, H, W, C) row by row in one array (H', W', C), `padding` pixels of `background` around each."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    tall, wide = height + padding, width + padding
    canvas = np.full((rows * tall + padding, columns * wide + padding, channels), background, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * tall + padding, (index % columns) * wide + padding
        canvas[top : top + height, left : left + width] = image
    return canvas


def save_png(image: UInt8Array, path: Path, scale: int = 1) -> None:
    """Write (H, W, C) as PNG, atomically, each pixel blown up to `scale` x `scale`. C is 1 (grey) or 3 (RGB)."""
    from PIL import Image

    big = image.repeat(scale, axis=0).repeat(scale, axis=1)
    with atomic_path(path) as temporary:
        Image.fromarray(big[..., 0] if big.shape[-1] == 1 else big).save(temporary, format="PNG")


def display_scale(side: int, target: int = 32) -> int:
    """By how much to blow up images of `side` pixels so that each shows at about `target` pixels or more."""
    return max(1, -(-target // side))
