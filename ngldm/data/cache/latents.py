"""The latent cache: every item encoded once, standardised per channel, memory-mapped.

Each channel has mean 0 and variance 1 over the training split. So noise of variance 1 is equally strong whatever the
autoencoder's scale. `LatentStatistics` undoes it before decoding.

On disk: train.npy, test.npy (N, c, h, w) float32, of points (N, d), and statistics.json. Of a data set that is not kept
as pixels the training latents are in shards (`sharded.py`): train/*.npy, train.json and extent.npz. With both sides of
the images, the latents of image i and of its mirror image are the rows 2 i and 2 i + 1 of the training latents, and
statistics.json has `sides`, 2.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.data.cache.sharded import ShardedRows, index_of, open_shards
from ngldm.data.cache.statistics import LatentExtent, LatentStatistics, channel_statistics, latent_extent
from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_directory, entry, read_json, require, require_unchanged, write_described
from ngldm.io.images import UInt8Array, create_array, load_arrays, open_array, require_finite
from ngldm.io.items import Items, Rows, as_images, noun
from ngldm.io.tensors import to_tensor
from ngldm.io.threads import following_free_cores

MADE_BY = "the stage `latents`"
EXTENT = "extent.npz"
SIDES = 2
Array = NDArray[np.float32]
Progress = Callable[[int], None]  # called with the number of items of each batch


def both_sides(images: UInt8Array) -> UInt8Array:
    """Images (B, H, W, C), each followed by its mirror image, left and right swapped: (2 B, H, W, C)."""
    return np.stack([images, images[:, :, ::-1]], 1).reshape(-1, *images.shape[1:])


class Mirrored:
    """Both sides of images (N, H, W, C), as `both_sides` orders them, made when they are read.

    Args:
        images: uint8, may be memory-mapped.

    Raises:
        TypeError: these are points.
    """

    def __init__(self, images: Items) -> None:
        self.images = as_images(images)

    def __len__(self) -> int:
        return SIDES * len(self.images)

    def __getitem__(self, rows: slice) -> UInt8Array:
        """The rows of a slice without step."""
        start, stop, _ = rows.indices(len(self))
        first = start // SIDES
        sides = both_sides(self.images[first : -(-stop // SIDES)])
        return sides[start - SIDES * first : stop - SIDES * first]


@dataclass(frozen=True)
class Latents:
    """A cache opened for reading.

    Attributes:
        train, test: standardised latents (N, c, h, w) or (N, d) of each split: memory-mapped, those of training also in
            shards.
        statistics: what they were standardised with.
        known_extent: of the training latents, if it is kept with them.
        sides: rows of `train` that each image has: 2 if the mirror image follows the image.
    """

    train: Rows
    test: NDArray[np.float32]
    statistics: LatentStatistics
    known_extent: LatentExtent | None = None
    sides: int = 1

    def extent(self) -> LatentExtent:
        """Mean, deviation and range at each position of the training latents; measured, unless it is kept."""
        return self.known_extent or latent_extent(self.train)

    def check(self) -> None:
        """Compare all shards with their checksums now, and not when they are first read. Arrays were when opened.

        Raises:
            InputError: one has changed since it was written.
        """
        if isinstance(self.train, ShardedRows):
            self.train.check()


class Encoder(Protocol):
    """What the cache needs of an autoencoder."""

    latent_shape: tuple[int, ...]

    def eval(self) -> object: ...

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in [-1, 1] to (B, c, h, w) latents; points (B, d) to (B, d)."""
        ...


@torch.no_grad()
def encode(autoencoder: Encoder, items: Items, device: torch.device, whose: str) -> Array:
    """Latents (B, c, h, w) or (B, d), not standardised, of a batch of uint8 images (B, H, W, C) or points (B, d).

    Args:
        whose: what the batch is, for the message.

    Raises:
        InputError: they have NaN or infinite numbers.
    """
    with following_free_cores():
        latents = autoencoder.encode(to_tensor(items).to(device)).float().cpu()
    if not latents.isfinite().all():
        raise InputError(
            f"autoencoder: its latents of the {noun(items)} {whose} have NaN or infinite numbers; "
            "train it again with a lower autoencoder.fit.lr, or use a pretrained one in bf16 or fp32"
        )
    array: Array = latents.numpy()
    return array


def encode_split(
    autoencoder: Encoder, items: Items | Mirrored, split: str, batch_size: int, device: torch.device
) -> Iterator[Array]:
    """The latents of a split in batches, not standardised, spread over the processes. Only the main one gets them."""

    def make(part: int) -> Array:
        batch = items[part * batch_size : (part + 1) * batch_size]
        whose = f"{part * batch_size} to {part * batch_size + len(batch) - 1} of {split}"
        return encode(autoencoder, batch, device, whose)

    return processes.spread(-(-len(items) // batch_size), make)


def write_latents(
    path: Path, shape: tuple[int, ...], batches: Iterator[Array], progress: Progress = lambda count: None
) -> Array:
    """Write batches of latents as one .npy file of this shape; returns them memory-mapped for writing."""
    out = create_array(path, np.float32, shape)
    start = 0
    for batch in batches:
        out[start : start + len(batch)] = batch
        start += len(batch)
        progress(len(batch))
    return out


def standardise(array: NDArray[np.float32], statistics: LatentStatistics, batch_size: int) -> None:
    """Standardise a memory-mapped array in place."""
    for start in range(0, len(array), batch_size):
        part = slice(start, start + batch_size)
        array[part] = statistics.standardise(torch.from_numpy(array[part])).numpy()
    array.flush()  # type: ignore[attr-defined]


def write_statistics(
    path: Path, statistics: LatentStatistics, shape: Sequence[int], counts: Mapping[str, int], sides: int = 1
) -> None:
    """Write statistics.json, with the checksums of the files beside it, which must be written before.

    Args:
        shape: of a latent.
        counts: latents of each split.
        sides: training latents of each image.
    """
    means = {"mean": statistics.mean.tolist(), "std": statistics.std.tolist()}
    several = {} if sides == 1 else {"sides": sides}
    content = {**means, "latent_shape": shape, "counts": dict(counts), **several}
    write_described(path, content, ["train.npy", "train.json", "test.npy", EXTENT])


def build_cache(
    autoencoder: Encoder,
    train: Items | Mirrored,
    test: Items,
    path: Path,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = lambda count: None,
) -> None:
    """Encode both splits, standardise them and write the cache's folder, whole or not at all.

    Several processes share the batches. Only the main one writes.

    Args:
        train: uint8 images (N, H, W, C), also `Mirrored`, or float32 points (N, d).
        test: the same, never mirrored.
        batch_size: images in memory at a time.
        progress: called with the number of items of each batch.
    """
    autoencoder.eval()
    splits: dict[str, Items | Mirrored] = {"train": train, "test": test}
    target = torch.device(device)
    encoded = {split: encode_split(autoencoder, items, split, batch_size, target) for split, items in splits.items()}
    if not processes.is_main():
        for batches in encoded.values():
            deque(batches, maxlen=0)
        return
    with atomic_directory(path) as folder:
        arrays = [
            write_latents(folder / f"{split}.npy", (len(items), *autoencoder.latent_shape), encoded[split], progress)
            for split, items in splits.items()
        ]
        statistics = channel_statistics(arrays[0], batch_size)
        for array in arrays:
            standardise(array, statistics, batch_size)
        counts, sides = {"train": len(train), "test": len(test)}, SIDES if isinstance(train, Mirrored) else 1
        write_statistics(folder / "statistics.json", statistics, arrays[0].shape[1:], counts, sides)


def input_files(path: Path) -> list[Path]:
    """The files that a training on a cache depends on; the index of shards stands for them, as it has their hashes."""
    index = index_of(path / "train")
    return [index if index.is_file() else path / "train.npy", path / "test.npy", path / "statistics.json"]


def open_cache(path: Path) -> Latents:
    """A saved cache. Shards are compared with their checksums when they are first read, or by `Latents.check`.

    Raises:
        InputError: the folder or one of its files is missing or damaged.
    """
    content = read_json(require(path, MADE_BY) / "statistics.json", "mean", "std")
    sharded = index_of(path / "train").is_file()
    train: Rows = open_shards(path / "train", MADE_BY) if sharded else _open(path / "train.npy")
    test = _open(path / "test.npy")
    try:
        statistics = LatentStatistics(*(torch.tensor(content[key], dtype=torch.float32) for key in ("mean", "std")))
    except (TypeError, ValueError, RuntimeError) as error:
        file = path / "statistics.json"
        raise InputError(f"{file}: mean and std must be lists of numbers, one per channel ({error})") from error
    sides = entry({"sides": 1, **content}, "sides", int, path / "statistics.json")
    if sides not in (1, SIDES) or len(train) % sides:
        raise InputError(f"{path / 'statistics.json'}: sides {sides!r}, must be 1, or 2 with an even number of latents")
    cache = Latents(train, test, statistics, read_extent(path / EXTENT) if sharded else None, sides)
    require_latents(path, cache)
    counts = content.get("counts", {"train": len(train), "test": len(test)})  # an older version wrote none
    if counts != {"train": len(train), "test": len(test)}:
        found = f"{len(train)} in train.npy and {len(test)} in test.npy"
        raise InputError(f"{path / 'statistics.json'}: counts {counts}, but there are {found}; run {MADE_BY} again")
    require_unchanged(path / "statistics.json", "sha256", content)
    return cache


def _open(path: Path) -> NDArray[np.float32]:
    return open_array(path, np.float32, MADE_BY)


def read_extent(path: Path) -> LatentExtent:
    """The extent that is kept with shards.

    Raises:
        InputError: the file is missing or damaged.
    """
    keys = [field.name for field in fields(LatentExtent)]
    found = load_arrays(path, keys, MADE_BY)
    return LatentExtent(*(torch.from_numpy(found[key]).float() for key in keys))


def require_latents(path: Path, cache: Latents) -> None:
    """Check a cache: shapes, and that every number is finite. This reads the arrays, a block at a time.

    Shards are not read: their numbers were checked when they were written, and their checksums are compared later.

    Raises:
        InputError: what is wrong, and in which file.
    """
    for split, array in (("train", cache.train), ("test", cache.test)):
        if array.ndim not in (2, 4) or 0 in array.shape:
            raise InputError(
                f"{path / split}.npy: shape {array.shape}, must be (N, c, h, w) or (N, d) with none of them 0"
            )
        if isinstance(array, np.ndarray):
            require_finite(path / f"{split}.npy", array)
    if cache.train.shape[1:] != cache.test.shape[1:]:
        shapes = f"{cache.train.shape[1:]} in train.npy, {cache.test.shape[1:]} in test.npy"
        raise InputError(f"{path}: latents of different shapes (c, h, w): {shapes}")
    for name, values in vars(cache.statistics).items():
        if (
            values.shape != (cache.train.shape[1],)
            or not values.isfinite().all()
            or (name == "std" and values.min() <= 0)
        ):
            above = " above 0" if name == "std" else ""
            wanted = f"{cache.train.shape[1]} finite numbers{above}, one per channel"
            raise InputError(f"{path / 'statistics.json'}: {name} {values.tolist()}, must be {wanted}")
