"""The one place that converts between float images in [-1, 1], uint8 images, grids and PNG files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ngldm.io.files import atomic_path

UInt8Array = NDArray[np.uint8]


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


def enlarge(images: UInt8Array, target: int) -> UInt8Array:
    """Images (B, H, W, C) with each pixel repeated, so often that their height is `target` pixels or more."""
    scale = max(1, -(-target // images.shape[1]))
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def sample_grid(images: UInt8Array, rows: int = 8, columns: int = 16, target: int = 32) -> UInt8Array:
    """The first images, each blown up to about `target` pixels, in a grid."""
    return grid(enlarge(np.asarray(images[: rows * columns]), target), columns, padding=2)


def trajectory_grid(trajectory: UInt8Array, target: int = 48) -> UInt8Array:
    """One row per image, from noise on the left to the result on the right."""
    frames, count = trajectory.shape[:2]
    flat = np.asarray(trajectory).swapaxes(0, 1).reshape(frames * count, *trajectory.shape[2:])
    return grid(enlarge(flat, target), frames, padding=2)
