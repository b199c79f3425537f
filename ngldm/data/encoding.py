"""A data set in shards, encoded straight to latents: shard by shard, so that a run that was stopped goes on.

Each shard is encoded on its own (`Encoding.encode_shard`), in any order and by any process: its latents, float32 and
not standardised, and its moments are written into a working folder (`ngldm.data.encoded`). When all are done, `finish`
merges the moments, and writes the standardised latents in the type that was asked for.

Several processes share the shards (`encode_all`). Where they have disks of their own, the main process is sent what the
others have encoded, a shard of each at a time.
"""

import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import torch

from ngldm.data.cache.latents import (
    EXTENT,
    MADE_BY,
    SIDES,
    Encoder,
    Progress,
    both_sides,
    encode,
    encode_split,
    standardise,
    write_latents,
    write_statistics,
)
from ngldm.data.cache.sharded import open_shards, write_index
from ngldm.data.cache.statistics import ChannelMoments, LatentExtent, latent_extent
from ngldm.data.encoded import BLOCK, EncodedShard
from ngldm.data.sources.pixels.npy import NpyAppender
from ngldm.data.sources.pixels.skips import Skip, refusal, write_skips
from ngldm.data.sources.pixels.square import Decoded
from ngldm.data.sources.shards.manifest import Manifest, Shard
from ngldm.data.sources.shards.opening import Keyed
from ngldm.data.sources.shards.records import Shards
from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_path, entry
from ngldm.io.images import UInt8Array
from ngldm.io.items import Items


class _Encoded(NamedTuple):
    """What a process tells the main one of a shard that it has encoded.

    Attributes:
        rows: latents.
        files: latents and note, where the main process does not see this one's disk.
    """

    rows: int
    files: tuple[bytes, bytes] | None = None


@dataclass(frozen=True)
class Encoding:
    """The work of encoding a data set in shards.

    Attributes:
        manifest: of the data set.
        autoencoder: what encodes.
        work: folder for what is done so far. It must be empty, or from the same data set, autoencoder and batch size.
        batch_size: images per call of the encoder.
        device: where to encode.
        flips: whether also the mirror image of each training image (`ngldm.data.cache.latents.both_sides`).
    """

    manifest: Manifest
    autoencoder: Encoder
    work: Path
    batch_size: int
    device: torch.device
    flips: bool = False

    @property
    def sides(self) -> int:
        """Latents of each training image."""
        return SIDES if self.flips else 1

    @cached_property
    def shards(self) -> Shards:
        """The training shards, open."""
        return self.manifest.open_training()

    @cached_property
    def _found_whole(self) -> set[int]:
        """Numbers of the shards that were compared with their checksums, which is done once."""
        return set()

    def encoded(self, shard: Shard) -> EncodedShard:
        """The files of a shard in the working folder."""
        return EncodedShard(self.work, shard.number)

    def is_done(self, shard: Shard) -> bool:
        """Whether a shard is encoded, and its files are as they were written."""
        if shard.number not in self._found_whole and self.encoded(shard).is_whole():
            self._found_whole.add(shard.number)
        return shard.number in self._found_whole

    def encode_all(self, progress: Progress = lambda count: None) -> Iterator[int]:
        """Encode all training shards that are not done, spread over the processes. All of them must call this.

        Args:
            progress: called with the number of images of each chunk, or of each shard that another process encodes.

        Yields:
            After each shard how many are done; to the main process only.

        Raises:
            InputError: see `encode_shard`.
        """
        word = processes.from_main(self._leave_word)
        seen, own = (self.work / word).is_file(), set[int]()

        def make(part: int) -> _Encoded:
            own.add(part)
            shard = self.manifest.train[part]
            if not seen:  # what this one has standardised, when it was the main process, cannot be sent
                self.encoded(shard).target.unlink(missing_ok=True)
            self.encode_shard(shard, progress)
            return self.read(part) if seen else _Encoded(self.encoded(shard).rows, self.encoded(shard).take())

        for part, encoded in enumerate(processes.spread(len(self.manifest.train), make, self)):
            if part not in own:
                progress(encoded.rows // self.sides)
            yield part + 1
        if processes.is_main():
            (self.work / word).unlink()

    def _leave_word(self) -> str:
        """Make a file of a new name in the working folder, by which others find out whether they see it."""
        self.work.mkdir(parents=True, exist_ok=True)
        word = f"{uuid4().hex}.word"
        (self.work / word).touch()
        return word

    def done(self) -> list[int]:
        """The parts of `ngldm.io.processes.Kept`: positions in `manifest.train` of the shards that are encoded."""
        return [part for part, shard in enumerate(self.manifest.train) if self.is_done(shard)]

    def read(self, part: int) -> _Encoded:
        """What is told of an encoded shard; its files stay where they are."""
        return _Encoded(self.encoded(self.manifest.train[part]).rows)

    def write(self, part: int, content: _Encoded) -> None:
        """Keep the files of a shard, if they were sent."""
        if content.files is not None:
            self.encoded(self.manifest.train[part]).put(content.files)

    def encode_shard(self, shard: Shard, progress: Progress = lambda count: None) -> None:
        """Encode the training images of one shard, unless that is done.

        Args:
            progress: called with the number of images of each chunk.

        Raises:
            InputError: the shards are not there any more, this one has changed, an image is unusable and on_error is
                "fail", or latents are not finite.
        """
        kept = self.encoded(shard)
        if self.is_done(shard):
            progress(kept.rows // self.sides)
            return
        self.autoencoder.eval()
        moments, skips = ChannelMoments(self.autoencoder.latent_shape[0]), list[Skip]()
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            atomic_path(kept.raw) as temporary,
            NpyAppender(temporary, self.autoencoder.latent_shape, np.float32) as array,
        ):
            images = self.manifest.training_images(self.shards, shard, pool, progress)
            usable = _usable(images, entry(self.manifest.config, "on_error", str), skips)
            while batch := list(islice(usable, max(1, self.batch_size // self.sides))):
                pixels = both_sides(np.stack(batch)) if self.flips else np.stack(batch)
                latents = encode(self.autoencoder, pixels, self.device, f"of {shard.name}")
                moments.update(latents)
                array.append(latents)
        kept.write_note(
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
        All processes must call this: they share the test images. Only the main one writes.

        Args:
            test: uint8 images (T, H, W, C).
            path: of the cache; an older one is replaced.
            dtype: "float32" or "float16", of the training latents.

        Raises:
            InputError: no training image could be used, or latents do not fit float16.
        """
        shape, folder = self.autoencoder.latent_shape, self.work / "cache"
        self.autoencoder.eval()
        encoded = encode_split(self.autoencoder, test, "test", self.batch_size, self.device)
        if not processes.is_main():
            deque(encoded, maxlen=0)
            return
        (folder / "train").mkdir(parents=True, exist_ok=True)
        test_latents = write_latents(folder / "test.npy", (len(test), *shape), encoded)
        notes = {shard: self.encoded(shard).note() for shard in self.manifest.train}
        moments, rows = ChannelMoments(shape[0]), 0
        for note in notes.values():
            mean, scatter = (np.array(note[key], np.float64) for key in ("mean", "scatter"))
            moments.merge(entry(note, "count", int), mean, scatter)
            rows += entry(note, "rows", int)
        if not rows:
            raise InputError("dataset: no training image could be used; skipped.csv of data/dataset names the reasons")
        statistics, filled = moments.statistics(), [shard for shard, note in notes.items() if note["rows"]]
        files = [self.encoded(shard).standardise(statistics, dtype) for shard in filled]
        write_index(folder / "train", files, shape, dtype)
        _write_extent(folder / EXTENT, latent_extent(open_shards(folder / "train", MADE_BY), BLOCK))
        standardise(test_latents, statistics, self.batch_size)
        skips = (Skip(**skip) for note in notes.values() for skip in entry(note, "skips", list))
        write_skips(folder / "skipped.csv", list(skips))
        counts = {"train": rows, "test": len(test)}
        write_statistics(folder / "statistics.json", statistics, shape, counts, self.sides)
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, path)


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


def _write_extent(path: Path, extent: LatentExtent) -> None:
    np.savez(path, allow_pickle=False, **{field.name: getattr(extent, field.name).numpy() for field in fields(extent)})
