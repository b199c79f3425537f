"""Rows of numbers in many .npy files, the shards, read by their number. Nothing stays in memory.

Rows are read at their place in the file, not mapped: mapped pages that were touched once would count as memory of the
process, up to the size of all shards.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from ngldm.data.sharded.names import LATENT_TYPES
from ngldm.io.errors import InputError, unknown
from ngldm.io.files import entry, read_json, sha256_file, write_json
from ngldm.io.images import open_array


class ShardedRows:
    """Rows of float32 numbers of one shape, in shards of float32 or float16. It is used like an array.

    Args:
        files: .npy files (n, ...), in the order of their rows.
        counts: rows n of each.
        row: shape of a row.
        dtype: "float32" or "float16".
        made_by: where the files come from, for messages.

    Raises:
        InputError: a file is missing, damaged, or has another shape or type.
    """

    def __init__(
        self, files: Sequence[Path], counts: Sequence[int], row: Sequence[int], dtype: str, made_by: str
    ) -> None:
        if dtype not in LATENT_TYPES:
            raise unknown("latents.dtype", dtype, LATENT_TYPES)
        self.files, self.row, self.dtype = list(files), tuple(row), np.dtype(dtype)
        self.ends = np.cumsum(counts, dtype=np.int64)
        self.offsets = [self._offset(file, count, made_by) for file, count in zip(files, counts, strict=True)]

    def _offset(self, file: Path, count: int, made_by: str) -> int:
        """Where the rows of a file begin, in bytes."""
        array = open_array(file, self.dtype.type, made_by)
        if array.shape != (count, *self.row):
            raise InputError(f"{file}: shape {array.shape}, must be {(count, *self.row)}; run {made_by} again")
        return file.stat().st_size - array.nbytes

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.row)

    @property
    def ndim(self) -> int:
        return 1 + len(self.row)

    def __len__(self) -> int:
        return int(self.ends[-1])

    @overload
    def __getitem__(self, index: NDArray[np.int64], /) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, index: slice, /) -> NDArray[np.float32]: ...
    def __getitem__(self, index: slice | NDArray[np.int64], /) -> NDArray[np.float32]:
        """The rows (B, ...) of these numbers, float32: of a slice, or of an array (B,) of numbers from 0."""
        numbers = np.arange(*index.indices(len(self))) if isinstance(index, slice) else index
        out = np.empty((len(numbers), *self.row), self.dtype)
        shards = np.searchsorted(self.ends, numbers, side="right")
        for shard in np.unique(shards):
            first = int(self.ends[shard - 1]) if shard else 0
            with self.files[shard].open("rb", buffering=0) as file:
                self._read(file, self.offsets[shard], numbers - first, shards == shard, out)
        return out.astype(np.float32, copy=False)

    def _read(
        self,
        file: BinaryIO,
        offset: int,
        places: NDArray[np.int64],
        wanted: NDArray[np.bool_],
        out: NDArray[np.floating],
    ) -> None:
        """Read the wanted rows of one shard into their lines of `out`. Neighbours are read together."""
        lines = np.flatnonzero(wanted)
        breaks = np.flatnonzero((np.diff(places[lines]) != 1) | (np.diff(lines) != 1)) + 1
        size = out[:1].nbytes
        for run in np.split(lines, breaks):
            content = os.pread(file.fileno(), len(run) * size, offset + int(places[run[0]]) * size)
            rows = np.frombuffer(content, self.dtype)
            out[run[0] : run[0] + len(run)] = rows.reshape(len(run), *self.row)


def write_index(folder: Path, files: Sequence[tuple[Path, int]], row: Sequence[int], dtype: str) -> None:
    """Write <folder>.json, which names the shards in `folder` with their rows and hashes.

    Args:
        files: the shards and the rows of each.
        row: shape of a row.
        dtype: "float32" or "float16".
    """
    shards = [{"file": file.name, "rows": count, "sha256": sha256_file(file)} for file, count in files]
    write_json(index_of(folder), {"dtype": dtype, "shape": list(row), "shards": shards})


def index_of(folder: Path) -> Path:
    """The file that names the shards of a folder."""
    return folder.with_suffix(".json")


def open_shards(folder: Path, made_by: str) -> ShardedRows:
    """The shards that `write_index` has named.

    Raises:
        InputError: the index or a shard is missing or damaged.
    """
    path = index_of(folder)
    content = read_json(path, "dtype", "shape", "shards")
    shards = entry(content, "shards", list, path)
    if not shards or not all(isinstance(shard, dict) for shard in shards):
        raise InputError(f"{path}: shards must be a list of at least one file with its rows; run {made_by} again")
    files = [folder / entry(shard, "file", str, path) for shard in shards]
    counts = [entry(shard, "rows", int, path) for shard in shards]
    return ShardedRows(files, counts, entry(content, "shape", list, path), entry(content, "dtype", str, path), made_by)
