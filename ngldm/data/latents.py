"""The latent cache: encoded once, standardised per channel, memory-mapped.

Standardising (mean 0, variance 1 per channel over the training split) makes noise of unit variance fair whatever
the autoencoder's scale; `LatentStatistics` undoes it before decoding.

On disk: train.npy, test.npy (N, c, h, w) float32, and statistics.json.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.data.statistics import LatentStatistics, channel_statistics
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_directory, read_json, require, write_json
from ngldm.io.images import UInt8Array
from ngldm.io.tensors import to_float


@dataclass(frozen=True)
class Latents:
    """A cache opened for reading: memory-mapped standardised latents of both splits."""

    train: NDArray[np.float32]
    test: NDArray[np.float32]
    statistics: LatentStatistics


class Encoder(Protocol):
    """What the cache needs of an autoencoder."""

    latent_shape: tuple[int, int, int]

    def eval(self) -> object: ...

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in [-1, 1] to (B, c, h, w) latents."""
        ...


@torch.no_grad()
def _encode(
    autoencoder: Encoder,
    images: UInt8Array,
    path: Path,
    batch_size: int,
    device: torch.device,
    progress: Callable[[int], None],
) -> NDArray[np.float32]:
    shape = (len(images), *autoencoder.latent_shape)
    out: NDArray[np.float32] = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, len(images), batch_size):
        batch = to_float(images[start : start + batch_size]).to(device)
        out[start : start + len(batch)] = autoencoder.encode(batch).float().cpu().numpy()
        progress(len(batch))
    return out


def build_cache(
    autoencoder: Encoder,
    train: UInt8Array,
    test: UInt8Array,
    path: Path,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Encode both splits, standardise them and write the cache's folder, whole or not at all.

    Never holds more than `batch_size` images in memory. `progress` is told the number of images of each batch.
    """
    autoencoder.eval()
    with atomic_directory(path) as folder:
        arrays = [
            _encode(autoencoder, images, folder / f"{split}.npy", batch_size, torch.device(device), progress)
            for split, images in (("train", train), ("test", test))
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
            },
        )


def open_cache(path: Path) -> Latents:
    """A saved cache.

    Raises:
        InputError: the folder or one of its files is missing or damaged.
    """
    content = read_json(require(path, "the stage `latents`") / "statistics.json", "mean", "std")
    try:
        train, test = (
            np.load(require(path / f"{split}.npy"), mmap_mode="r", allow_pickle=False) for split in ("train", "test")
        )
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a whole latent cache ({error}); run the stage `latents` again") from error
    try:
        statistics = LatentStatistics(*(torch.tensor(content[key], dtype=torch.float32) for key in ("mean", "std")))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: statistics.json holds no numbers per channel ({error})") from error
    return Latents(train, test, statistics)
