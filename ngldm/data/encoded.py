"""What is kept of a shard that is encoded, until all are: its latents, and a note with their moments and checksums.

On disk, in a working folder: <number>.npy, float32 and not standardised, or cache/train/<number>.npy, standardised; and
<number>.json, the note.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ngldm.data.cache.sharded import RowFile
from ngldm.data.cache.statistics import LatentStatistics
from ngldm.data.sources.pixels.npy import NpyAppender
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_path, entry, fingerprint, read_json, sha256_file, write_json

BLOCK = 4096  # latents in memory at a time while they are standardised
RAW, STANDARDISED, OWN = "sha256", "standardised_sha256", "fingerprint"  # checksums in a note: of latents, of itself


@dataclass(frozen=True)
class EncodedShard:
    """The files of one shard.

    Attributes:
        work: the working folder.
        number: of the shard.
    """

    work: Path
    number: int

    @property
    def raw(self) -> Path:
        """Latents before they are standardised."""
        return self.work / f"{self.number:06d}.npy"

    @property
    def target(self) -> Path:
        """Latents when they are standardised."""
        return self.work / "cache" / "train" / f"{self.number:06d}.npy"

    @property
    def _note(self) -> Path:
        return self.work / f"{self.number:06d}.json"

    def is_whole(self) -> bool:
        """Whether it is encoded, and latents and note are as they were written. This reads the latents once."""
        try:
            note = self.note() if self._note.is_file() else {}
        except InputError:
            return False
        file, key = (self.raw, RAW) if self.raw.is_file() else (self.target, STANDARDISED)
        return file.is_file() and note.get(key) == sha256_file(file)

    def note(self) -> dict[str, object]:
        """The content of the note.

        Raises:
            InputError: it is missing or has changed.
        """
        content = read_json(self._note)
        if content.pop(OWN, None) != fingerprint(content):
            raise InputError(f"{self._note}: has changed since it was written")
        return content

    @property
    def rows(self) -> int:
        """The number of latents."""
        return entry(self.note(), "rows", int, self._note)

    def write_note(self, content: Mapping[str, object]) -> None:
        """Write the note, after the latents: it says that the shard is encoded."""
        whole = {**content, RAW: sha256_file(self.raw)}
        write_json(self._note, {**whole, OWN: fingerprint(whole)})

    def standardise(self, statistics: LatentStatistics, dtype: str) -> RowFile:
        """Standardise the latents, unless that is done, and remove those that they are made of.

        Raises:
            InputError: they do not fit the type.
        """
        note = self.note()
        if self.raw.is_file():
            self._write_standardised(statistics, dtype)
            note[STANDARDISED] = sha256_file(self.target)
            write_json(self._note, {**note, OWN: fingerprint(note)})
            self.raw.unlink()
        return RowFile(self.target, entry(note, "rows", int), entry(note, STANDARDISED, str))

    def _write_standardised(self, statistics: LatentStatistics, dtype: str) -> None:
        latents: NDArray[np.float32] = np.load(self.raw, mmap_mode="r")
        shape, kind = latents.shape[1:], np.dtype(dtype).type
        with atomic_path(self.target) as temporary, NpyAppender(temporary, shape, kind) as array:
            for start in range(0, len(latents), BLOCK):
                block = statistics.standardise(torch.from_numpy(np.array(latents[start : start + BLOCK])))
                with np.errstate(over="ignore"):
                    rows = block.numpy().astype(dtype)
                if not np.isfinite(rows).all():
                    raise InputError(f"latents.dtype: {dtype} cannot hold the standardised latents; use float32")
                array.append(rows)

    def take(self) -> tuple[bytes, bytes]:
        """The bytes of latents and note, which are removed."""
        files = self.raw.read_bytes(), self._note.read_bytes()
        self._note.unlink()
        self.raw.unlink()
        return files

    def put(self, files: tuple[bytes, bytes]) -> None:
        """Keep what another process has taken from its disk."""
        for path, content in zip((self.raw, self._note), files, strict=True):
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
