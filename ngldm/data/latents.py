"""The latent cache: every item encoded once, standardised per channel, memory-mapped.

Each channel has mean 0 and variance 1 over the training split. So noise of variance 1 is equally strong whatever the
autoencoder's scale. `LatentStatistics` undoes it before decoding.

On disk: train.npy, test.npy (N, c, h, w) float32, of points (N, d), and statistics.json.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.data.statistics import LatentStatistics, channel_statistics
from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_directory, read_json, require, write_json
from ngldm.io.images import open_array, require_finite
from ngldm.io.items import Items, noun
from ngldm.io.tensors import to_tensor

MADE_BY = "the stage `latents`"
Array = NDArray[np.float32]
Progress = Callable[[int], None]  # called with the number of items of each batch


@dataclass(frozen=True)
class Latents:
    """A cache opened for reading.

    Attributes:
        train, test: memory-mapped standardised latents (N, c, h, w) or (N, d) of each split.
        statistics: what they were standardised with.
    """

    train: NDArray[np.float32]
    test: NDArray[np.float32]
    statistics: LatentStatistics


class Encoder(Protocol):
    """What the cache needs of an autoencoder."""

    latent_shape: tuple[int, ...]

    def eval(self) -> object: ...

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in [-1, 1] to (B, c, h, w) latents; points (B, d) to (B, d)."""
        ...


@torch.no_grad()
def _encode(autoencoder: Encoder, items: Items, split: str, batch: slice, device: torch.device) -> Array:
    images = to_tensor(items[batch]).to(device)
    latents = autoencoder.encode(images).float().cpu()
    if not latents.isfinite().all():
        raise InputError(
            f"autoencoder: its latents of the {noun(items)} {batch.start} to {batch.start + len(images) - 1} of "
            f"{split} have NaN or infinite numbers; train it again with a lower autoencoder.fit.lr, or use a "
            "pretrained one in bf16 or fp32"
        )
    found: Array = latents.numpy()
    return found


def _encode_all(
    autoencoder: Encoder, items: Items, split: str, batch_size: int, device: torch.device
) -> Iterator[Array]:
    """The latents in batches, spread over the processes. Only the main one gets them."""

    def make(part: int) -> Array:
        return _encode(autoencoder, items, split, slice(part * batch_size, (part + 1) * batch_size), device)

    return processes.spread(-(-len(items) // batch_size), make)


def _write(path: Path, shape: tuple[int, ...], batches: Iterator[Array], progress: Progress) -> Array:
    out: Array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    start = 0
    for batch in batches:
        out[start : start + len(batch)] = batch
        start += len(batch)
        progress(len(batch))
    return out


def build_cache(
    autoencoder: Encoder,
    train: Items,
    test: Items,
    path: Path,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = lambda count: None,
) -> None:
    """Encode both splits, standardise them and write the cache's folder, whole or not at all.

    Several processes share the batches. Only the main one writes.

    Args:
        train, test: uint8 images (N, H, W, C) or float32 points (N, d).
        batch_size: images in memory at a time.
        progress: called with the number of items of each batch.
    """
    autoencoder.eval()
    splits = {"train": train, "test": test}
    encoded = {
        split: _encode_all(autoencoder, items, split, batch_size, torch.device(device))
        for split, items in splits.items()
    }
    if not processes.is_main():
        for batches in encoded.values():
            deque(batches, maxlen=0)
        return
    with atomic_directory(path) as folder:
        arrays = [
            _write(folder / f"{split}.npy", (len(items), *autoencoder.latent_shape), encoded[split], progress)
            for split, items in splits.items()
        ]
        statistics = channel_statistics(arrays[0], batch_size)
        for array in arrays:
            for start in range(0, len(array), batch_size):
                part = slice(start, start + batch_size)
                array[part] = statistics.standardise(torch.from_numpy(array[part])).numpy()
            array.flush()  # type: ignore[attr-defined]
        write_json(
            folder / "statistics.json",
            {
                "mean": statistics.mean.tolist(),
                "std": statistics.std.tolist(),
                "latent_shape": arrays[0].shape[1:],
                "counts": {"train": len(train), "test": len(test)},
            },
        )


def open_cache(path: Path) -> Latents:
    """A saved cache.

    Raises:
        InputError: the folder or one of its files is missing or damaged.
    """
    content = read_json(require(path, MADE_BY) / "statistics.json", "mean", "std")
    train, test = (open_array(path / f"{split}.npy", np.float32, MADE_BY) for split in ("train", "test"))
    try:
        statistics = LatentStatistics(*(torch.tensor(content[key], dtype=torch.float32) for key in ("mean", "std")))
    except (TypeError, ValueError, RuntimeError) as error:
        file = path / "statistics.json"
        raise InputError(f"{file}: mean and std must be lists of numbers, one per channel ({error})") from error
    cache = Latents(train, test, statistics)
    require_latents(path, cache)
    counts = content.get("counts", {"train": len(train), "test": len(test)})  # an older version wrote none
    if counts != {"train": len(train), "test": len(test)}:
        found = f"{len(train)} in train.npy and {len(test)} in test.npy"
        raise InputError(f"{path / 'statistics.json'}: counts {counts}, but there are {found}; run {MADE_BY} again")
    return cache


def require_latents(path: Path, cache: Latents) -> None:
    """Check a cache: shapes, and that every number is finite. This reads both arrays, a block at a time.

    Raises:
        InputError: what is wrong, and in which file.
    """
    for split, array in (("train", cache.train), ("test", cache.test)):
        if array.ndim not in (2, 4) or 0 in array.shape:
            raise InputError(
                f"{path / split}.npy: shape {array.shape}, must be (N, c, h, w) or (N, d) with none of them 0"
            )
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
