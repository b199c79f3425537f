"""What data consist of: images, uint8 (N, H, W, C), or points, float32 (N, d); and rows of numbers.

The type of the numbers tells images and points apart, here and in `tensors.py` and nowhere else.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast, overload

import numpy as np
from numpy.typing import NDArray

from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array, create_array, grid, open_array, sample_grid, trajectory_grid

Points = NDArray[np.float32]
Items = NDArray[np.uint8 | np.float32]
MIN_ROWS = 50  # of points in each split; a distribution cannot be compared with fewer
MIN_SPREAD = 1e-6  # standard deviation of a column; below it a column counts as constant
CLASSES = "classes.npy"  # beside generated items: the class that was asked of each
KEPT = 10_000  # items of which the picture for `dvc plots` is made: all these points, or the first images
SIDE = 192  # pixels of a picture of points
SHOWN = (0.005, 0.995)  # quantiles of each column at the picture's edges: heavy tails would leave a single dot


def are_points(items: Items) -> bool:
    """Whether these are points (floats) and not images (uint8)."""
    return bool(np.issubdtype(items.dtype, np.floating))


def as_images(items: Items) -> UInt8Array:
    """The same array, for code that is for images alone.

    Raises:
        TypeError: these are points.
    """
    if items.dtype != np.uint8:
        raise TypeError(f"images are uint8, not {items.dtype}")
    return cast(UInt8Array, items)


def as_points(items: Items) -> Points:
    """The same array, for code that is for points alone.

    Raises:
        TypeError: these are images.
    """
    if items.dtype != np.float32:
        raise TypeError(f"points are float32, not {items.dtype}")
    return cast(Points, items)


def open_items(path: Path, points: bool, made_by: str) -> Items:
    """A .npy file of points (float32) or of images (uint8), memory-mapped and read-only; see `open_array`."""
    return open_array(path, np.float32, made_by) if points else open_array(path, np.uint8, made_by)


def noun(items: Items) -> str:
    """What to call them in a message: "images" or "points"."""
    return "points" if are_points(items) else "images"


def item_shape(items: Items) -> tuple[int, ...]:
    """The shape of one item as networks take it: (C, H, W) of images, (d,) of points."""
    shape: tuple[int, ...] = items.shape[1:]
    return shape if are_points(items) else (shape[2], shape[0], shape[1])


def require_points(source: Path, points: NDArray[np.floating], columns: Sequence[str] = ()) -> None:
    """The one check of points: shape, number of rows, finite numbers, and columns that vary.

    Args:
        source: the file that they come from, for the message.
        columns: their names; without names a message gives numbers, from 0.

    Raises:
        InputError: what is wrong, with file, row (from 0) and column.
    """
    if points.ndim != 2 or points.shape[1] < 1:
        raise InputError(f"{source}: array of shape {points.shape}; points must be (rows, columns)")
    if columns and len(columns) != points.shape[1]:
        raise InputError(f"{source}: {points.shape[1]} columns, the names are {len(columns)}")
    if len(points) < MIN_ROWS:
        raise InputError(f"{source}: {len(points)} rows; at least {MIN_ROWS} are needed for each split")
    if not (finite := np.isfinite(points)).all():
        row, column = np.argwhere(~finite)[0]
        raise InputError(
            f"{source}: row {row}, column {_name(columns, column)}: {points[row, column]}; all numbers must be finite"
        )
    for column, spread in enumerate(points.std(0, dtype=np.float64)):
        if not spread >= MIN_SPREAD:
            raise InputError(
                f"{source}: column {_name(columns, column)} is constant: its standard deviation is {spread:.3g}, "
                f"must be at least {MIN_SPREAD:g}; leave it out, or use a larger scale"
            )


def _name(columns: Sequence[str], index: int) -> str:
    return repr(columns[index]) if columns else str(index)


def picture(items: Items, rows: int = 8, columns: int = 16) -> UInt8Array:
    """The first items as one picture (H', W', C): images in a grid, points as `density`."""
    return density(items) if are_points(items) else sample_grid(as_images(items), rows, columns)


def write_items(batches: Iterator[Items], count: int, path: Path, like: Items) -> Items:
    """Write all batches into one array (count, ...) of the type of `like`. Returns the first items, at most `KEPT`."""
    items = create_array(path, like.dtype, (count, *like.shape[1:]))
    done = 0
    for batch in batches:
        items[done : done + len(batch)] = batch
        done += len(batch)
    items.flush()  # type: ignore[attr-defined]
    first: Items = np.array(items[:KEPT])
    return first


def class_picture(items: Items, classes: NDArray[np.int64] | None, rows: int = 20, columns: int = 16) -> UInt8Array:
    """As `picture`, with a row for each of the first `rows` classes that images have; the rows are equally long.

    Classes of a single image get no rows: the picture is then that of `picture`.

    Args:
        classes: (N,), of these items; None if they have none.
    """
    if classes is None or are_points(items):
        return picture(items)
    places = [np.flatnonzero(classes[: len(items)] == label) for label in np.unique(classes)[:rows]]
    length = min(columns, *(len(of_class) for of_class in places))
    if length < 2:  # too few of a class for a row
        return picture(items)
    return sample_grid(as_images(items)[np.concatenate([of_class[:length] for of_class in places])], rows, length)


def trajectory_picture(frames: Items) -> UInt8Array:
    """A trajectory (frames, n, ...) as one picture, from noise on the left to the result on the right."""
    if not are_points(frames):
        return trajectory_grid(as_images(frames))
    return grid(np.stack([density(frame) for frame in frames]), len(frames), padding=2)


def density(points: Items, side: int = SIDE) -> UInt8Array:
    """How many points (N, d) lie where, as a grey picture (side, side, 1).

    The axes are the first two columns, the second upwards; a single column is shown against its ranks. Brightness is
    the logarithm of 1 + count. The edges lie at the quantiles `SHOWN` of each column.
    """
    flat = np.asarray(points, np.float64)
    x, y = flat[:, 0], flat[:, 1] if flat.shape[1] > 1 else flat[:, 0].argsort().argsort().astype(np.float64)
    edges = [np.linspace(*_limits(values), side + 1) for values in (x, y)]
    counts = np.log1p(np.histogram2d(x, y, edges)[0].T[::-1])
    grey: UInt8Array = (255.0 * counts / max(1e-9, counts.max())).round().astype(np.uint8)
    return grey[..., None]


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Where a picture of these values begins and ends."""
    low, high = np.quantile(values, SHOWN)
    return (float(low), float(high)) if low < high else (float(low) - 1.0, float(low) + 1.0)


class Rows(Protocol):
    """Rows of float32 numbers (N, ...): an array, which may be memory-mapped, or shards (`data/cache/`)."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: NDArray[np.int64], /) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, index: slice, /) -> NDArray[np.float32]: ...
