"""Images as numpy arrays, uint8 (N, H, W, C): opened from .npy, arranged in grids, written as PNG. Without torch.

`tensors.py` converts them to what networks take.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ngldm.io.disk import reserve
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_path, require
from ngldm.io.limits import require_cells, require_unpacked

UInt8Array = NDArray[np.uint8]
# What NumPy raises of a damaged header, which it reads as Python's literals.
NPY_FAULTS = (
    *(ValueError, EOFError, OSError, TypeError, OverflowError, SyntaxError, TokenError, RecursionError),
    MemoryError,  # of a shape that no memory holds
)
Scalar = TypeVar("Scalar", bound=np.generic)


def open_array(path: Path, dtype: type[Scalar], made_by: str) -> NDArray[Scalar]:
    """A .npy file of one type of numbers, memory-mapped and read-only.

    Args:
        made_by: where the file comes from, for the user who lacks it.

    Raises:
        InputError: the file is missing or damaged, or holds other numbers.
    """
    try:
        array = np.lib.format.open_memmap(require(path, made_by), mode="r")
    except NPY_FAULTS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a complete .npy file ({error}); it comes from {made_by}") from error
    if array.dtype != dtype:
        raise InputError(f"{path}: holds {array.dtype}, must hold {np.dtype(dtype)}; it comes from {made_by}")
    if array.size and (extra := path.stat().st_size - array.offset - array.nbytes) > 0:
        raise InputError(f"{path}: longer than its header says, by {extra} bytes; it comes from {made_by}")
    opened: NDArray[Scalar] = array
    return opened


def create_array(path: Path, dtype: type[Scalar] | np.dtype[Scalar], shape: tuple[int, ...]) -> NDArray[Scalar]:
    """A new .npy file, memory-mapped and to be filled; its space on the disk is reserved.

    Raises:
        StorageError: there is not that much space.
    """
    array: np.memmap[tuple[int, ...], np.dtype[Scalar]] = np.lib.format.open_memmap(
        path, mode="w+", dtype=dtype, shape=shape
    )
    reserve(path, array.offset, array.nbytes)
    return array


def load_arrays(path: Path, keys: Sequence[str], made_by: str) -> dict[str, NDArray[np.float64]]:
    """The arrays of these names in an .npz file, as float64.

    Args:
        made_by: where the file comes from, for the user who lacks it.

    Raises:
        InputError: the file is missing or damaged, lacks a key, or holds NaN or infinite numbers.
    """
    try:
        with np.load(require(path, made_by), allow_pickle=False) as file:
            require_small(path, file)
            arrays = {key: file[key].astype(np.float64) for key in keys}
    except (*NPY_FAULTS, KeyError, BadZipFile, zlib.error, RuntimeError) as error:  # RuntimeError: it is encrypted
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a complete .npz with {', '.join(keys)} ({error})") from error
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {key}: NaN or infinite numbers; it comes from {made_by}")
    return arrays


def require_small(path: Path, file: object) -> None:
    """Check an open .npz before its arrays are read: how much it unpacks to.

    Raises:
        InputError: more than the limits allow, or it is no .npz.
    """
    archive = file.zip if isinstance(file, np.lib.npyio.NpzFile) else None
    if archive is None:
        raise InputError(f"{path}: not an .npz but a single array")
    unpacked = sum(int(member.file_size) for member in archive.infolist())
    require_unpacked(str(path), unpacked, path.stat().st_size)
    require_cells(str(path), unpacked // 8)


def require_images(path: Path, images: UInt8Array, leading: int = 1) -> None:
    """Check what was opened: at least one image, none of them empty, grey or RGB.

    Args:
        leading: axes before (H, W, C).

    Raises:
        InputError: another shape.
    """
    if images.ndim != leading + 3 or 0 in images.shape or images.shape[-1] not in (1, 3):
        wanted = f"({'N' if leading == 1 else 'frames, N'}, H, W, C) with C of 1 or 3 and none of them 0"
        raise InputError(f"{path}: images of shape {images.shape}, must be {wanted}")


def require_finite(path: Path, array: NDArray[np.floating], block: int = 4096) -> None:
    """Refuse NaN and infinite numbers. A memory-mapped array is read `block` rows at a time.

    Raises:
        InputError: there is one; the message names the file and the first row that has one.
    """
    for start in range(0, len(array), block):
        part = array[start : start + block]
        if not np.isfinite(part).all():
            bad = ~np.isfinite(part).reshape(len(part), -1).all(1)
            raise InputError(f"{path}: NaN or infinite numbers, the first in row {start + int(bad.argmax())}")


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
    """The first `rows * columns` images in a grid, each enlarged to `target` pixels or more."""
    return grid(enlarge(np.asarray(images[: rows * columns]), target), columns, padding=2)


def trajectory_grid(trajectory: UInt8Array, target: int = 48) -> UInt8Array:
    """A trajectory (frames, n, H, W, C) as one row per image, from noise on the left to the result on the right."""
    frames, count = trajectory.shape[:2]
    flat = np.asarray(trajectory).swapaxes(0, 1).reshape(frames * count, *trajectory.shape[2:])
    return grid(enlarge(flat, target), frames, padding=2)
