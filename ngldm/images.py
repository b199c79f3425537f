"""The one place that converts between float images in [-1, 1], uint8 images, grids and PNG files."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.errors import InputError
from ngldm.files import atomic_path, require

UInt8Array = NDArray[np.uint8]


def to_float(images: UInt8Array) -> Tensor:
    """uint8 (B, H, W, C) to float32 (B, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


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


def save_png(image: UInt8Array, path: Path) -> None:
    """Write (H, W, C) as PNG, atomically. C is 1 (grey) or 3 (RGB)."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(temporary, format="PNG")


def display_scale(side: int, target: int = 32) -> int:
    """By how much to blow up images of `side` pixels so that each shows at about `target` pixels or more."""
    return max(1, -(-target // side))


def load_images(path: Path) -> tuple[UInt8Array, UInt8Array]:
    """Images (N, H, W, C) and trajectory (frames, n, H, W, C) of a folder that the stage `sample` wrote.

    Raises:
        InputError: one of the files is missing or damaged.
    """
    arrays = []
    for name in ("images.npy", "trajectory.npy"):
        file = require(path / name, "the stage `sample`")
        try:
            arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{file}: not a whole .npy file ({error})") from error
    return arrays[0], arrays[1]


def sample_grid(images: UInt8Array, rows: int = 8, columns: int = 16, target: int = 32) -> UInt8Array:
    """The first images, each blown up to about `target` pixels, in a grid."""
    scale = display_scale(images.shape[1], target)
    first = np.asarray(images[: rows * columns]).repeat(scale, axis=1).repeat(scale, axis=2)
    return grid(first, columns, padding=2)


def trajectory_grid(trajectory: UInt8Array, target: int = 48) -> UInt8Array:
    """One row per image, from noise on the left to the result on the right."""
    frames, count = trajectory.shape[:2]
    scale = display_scale(trajectory.shape[2], target)
    flat = np.asarray(trajectory).swapaxes(0, 1).reshape(frames * count, *trajectory.shape[2:])
    return grid(flat.repeat(scale, axis=1).repeat(scale, axis=2), frames, padding=2)
