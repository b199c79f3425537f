"""A data set in shards, encoded straight to latents: shard by shard, so that a run that was stopped goes on.

Each shard is encoded on its own (`Encoding.encode_shard`), in any order and by any process: its latents, float32 and
not standardised, and its moments are written into a working folder. When all are done, `finish` merges the moments,
writes the standardised latents in the type that was asked for, and removes those that they were made of.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ngldm.data.latents import EXTENT, MADE_BY, Encoder, encode, encode_split, standardise, write_statistics
from ngldm.data.sources.pixels.npy import NpyAppender
from ngldm.data.sources.pixels.skips import Skip, refusal, write_skips
from ngldm.data.sources.pixels.square import Decoded
from ngldm.data.sources.shards.manifest import Manifest, Shard
from ngldm.data.sources.shards.opening import Keyed
from ngldm.data.sources.shards.records import Shards
from ngldm.data.statistics import ChannelMoments, LatentExtent, LatentStatistics, latent_extent
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_path, entry, read_json, write_json
from ngldm.io.images import UInt8Array
from ngldm.io.items import Items, open_shards, write_index

BLOCK = 4096  # latents in memory at a time while they are standardised


@dataclass(frozen=True)
class Encoding:
    """The work of encoding a data set in shards.

    Attributes:
        manifest: of the data set.
        autoencoder: what encodes.
        work: folder for what is done so far. It must be empty, or from the same data set, autoencoder and batch size.
        batch_size: images per call of the encoder.
        device: where to encode.
    """

    manifest: Manifest
    autoencoder: Encoder
    work: Path
    batch_size: int
    device: torch.device

    @cached_property
    def shards(self) -> Shards:
        """The training shards, open."""
        return self.manifest.open_training()

    def is_done(self, shard: Shard) -> bool:
        """Whether a shard is encoded."""
        latents = _raw(self.work, shard), _target(self.work, shard)
        return _note(self.work, shard).is_file() and any(file.is_file() for file in latents)

    def encode_shard(self, shard: Shard, progress: Callable[[int], None] = lambda count: None) -> None:
        """Encode the training images of one shard, unless that is done.

        Args:
            progress: called with the number of images of each chunk.

        Raises:
            InputError: the shards are not there any more, this one has changed, an image is unusable and on_error is
                "fail", or latents are not finite.
        """
        if self.is_done(shard):
            progress(entry(read_json(_note(self.work, shard)), "rows", int))
            return
        self.autoencoder.eval()
        moments, skips = ChannelMoments(self.autoencoder.latent_shape[0]), list[Skip]()
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            atomic_path(_raw(self.work, shard)) as temporary,
            NpyAppender(temporary, self.autoencoder.latent_shape, np.float32) as array,
        ):
            images = self.manifest.training_images(self.shards, shard, pool, progress)
            usable = _usable(images, entry(self.manifest.config, "on_error", str), skips)
            while batch := list(islice(usable, self.batch_size)):
                latents = encode(self.autoencoder, np.stack(batch), self.device, f"of {shard.name}")
                moments.update(latents)
                array.append(latents)
        write_json(
            _note(self.work, shard),
            {
                "rows": array.count,
                "count": moments.count,
                "mean": moments.mean.tolist(),
                "scatter": moments.scatter.tolist(),
                "skips": [asdict(skip) for skip in skips],
            },
        )

    def finish(self, test: Items, path: Path, dtype: str) -> None:
        """Write the cache's folder from the encoded shards, all of which must be done, and the test images.

        What is done stays in the working folder until the cache is whole, so that this too goes on where it stopped.

        Args:
            test: uint8 images (T, H, W, C).
            path: of the cache; an older one is replaced.
            dtype: "float32" or "float16", of the training latents.

        Raises:
            InputError: no training image could be used, or latents do not fit float16.
        """
        notes = {shard: read_json(_note(self.work, shard)) for shard in self.manifest.train}
        moments, rows = ChannelMoments(self.autoencoder.latent_shape[0]), 0
        for note in notes.values():
            mean, scatter = (np.array(note[key], np.float64) for key in ("mean", "scatter"))
            moments.merge(entry(note, "count", int), mean, scatter)
            rows += entry(note, "rows", int)
        if not rows:
            raise InputError("dataset: no training image could be used; skipped.csv of data/dataset names the reasons")
        statistics, folder = moments.statistics(), self.work / "cache"
        (folder / "train").mkdir(parents=True, exist_ok=True)
        files = []
        for shard, note in notes.items():
            if count := entry(note, "rows", int):
                _standardise_shard(_raw(self.work, shard), _target(self.work, shard), statistics, dtype)
                files.append((_target(self.work, shard), count))
        write_index(folder / "train", files, self.autoencoder.latent_shape, dtype)
        _write_extent(folder / EXTENT, latent_extent(open_shards(folder / "train", MADE_BY), BLOCK))
        encoded = encode_split(
            self.autoencoder, test, folder / "test.npy", self.batch_size, self.device, lambda count: None
        )
        standardise(encoded, statistics, self.batch_size)
        skips = (Skip(**skip) for note in notes.values() for skip in entry(note, "skips", list))
        write_skips(folder / "skipped.csv", list(skips))
        counts = {"train": rows, "test": len(test)}
        write_statistics(folder / "statistics.json", statistics, self.autoencoder.latent_shape, counts)
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, path)


def _raw(work: Path, shard: Shard) -> Path:
    """The file of a shard's latents before they are standardised."""
    return work / f"{shard.number:06d}.npy"


def _target(work: Path, shard: Shard) -> Path:
    """The file of a shard's latents when they are standardised."""
    return work / "cache" / "train" / f"{shard.number:06d}.npy"


def _note(work: Path, shard: Shard) -> Path:
    """The file that says that a shard is encoded, with its moments."""
    return work / f"{shard.number:06d}.json"


def _usable(images: Iterable[tuple[Keyed, Decoded]], on_error: str, skips: list[Skip]) -> Iterator[UInt8Array]:
    """The images that could be decoded; the others are added to `skips`.

    Raises:
        InputError: there is one that could not, and `on_error` is "fail".
    """
    for _, image in images:
        if not isinstance(image.image, Skip):
            yield image.image
        elif on_error == "fail":
            raise refusal([image.image])
        else:
            skips.append(image.image)


def _standardise_shard(raw: Path, target: Path, statistics: LatentStatistics, dtype: str) -> None:
    """Write a shard's standardised latents, unless that is done, and remove those that they are made of.

    Raises:
        InputError: they do not fit the type.
    """
    if not target.is_file():
        latents: NDArray[np.float32] = np.load(raw, mmap_mode="r")
        with atomic_path(target) as temporary, NpyAppender(temporary, latents.shape[1:], np.dtype(dtype).type) as array:
            for start in range(0, len(latents), BLOCK):
                block = statistics.standardise(torch.from_numpy(np.array(latents[start : start + BLOCK])))
                with np.errstate(over="ignore"):
                    rows = block.numpy().astype(dtype)
                if not np.isfinite(rows).all():
                    raise InputError(f"latents.dtype: {dtype} cannot hold the standardised latents; use float32")
                array.append(rows)
    raw.unlink(missing_ok=True)


def _write_extent(path: Path, extent: LatentExtent) -> None:
    np.savez(path, allow_pickle=False, **{field.name: getattr(extent, field.name).numpy() for field in fields(extent)})
