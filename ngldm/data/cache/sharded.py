"""Rows of numbers in many .npy files, the shards, and the index that names them.

On disk: <folder>/*.npy, and <folder>.json with the type and shape of a row, and the rows and SHA-256 of each shard.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ngldm.io.errors import InputError, require_name, unknown
from ngldm.io.files import entry, read_json, sha256_file, write_json
from ngldm.io.images import open_array

STORED = ("float32", "float16")  # types of numbers in shards


class RowFile(NamedTuple):
    """A shard.

    Attributes:
        path: of its .npy file (n, ...).
        rows: n.
        sha256: of the file.
    """

    path: Path
    rows: int
    sha256: str


class ShardedRows:
    """Rows of numbers of one shape in many .npy files, the shards, of float32 or float16. It is used like an array.

    Nothing stays in memory. Rows are read at their place in the file, not mapped: mapped pages that were touched once
    would count as memory of the process, up to the size of all shards.

    Shapes, types and sizes are checked at once. A shard is compared with its checksum before its first row is read, or
    by `check`: that reads it whole, at about 1 GB/s on each core.

    Args:
        shards: in the order of their rows.
        row: shape of a row.
        dtype: "float32" or "float16".
        made_by: where the files come from, for messages.

    Raises:
        InputError: a file is missing, damaged, or has another shape or type.
    """

    def __init__(self, shards: Sequence[RowFile], row: Sequence[int], dtype: str, made_by: str) -> None:
        self.shards, self.row, self.dtype, self.made_by = list(shards), tuple(row), np.dtype(dtype), made_by
        self.ends = np.cumsum([shard.rows for shard in shards], dtype=np.int64)
        self.offsets = [self._offset(shard) for shard in shards]
        self.unchecked = set(range(len(shards)))

    def _offset(self, shard: RowFile) -> int:
        """Where the rows of a file begin, in bytes."""
        array = open_array(shard.path, self.dtype.type, self.made_by)
        if array.shape != (shard.rows, *self.row):
            wanted = f"must be {(shard.rows, *self.row)}; it comes from {self.made_by}"
            raise InputError(f"{shard.path}: shape {array.shape}, {wanted}")
        return shard.path.stat().st_size - array.nbytes

    def check(self, shards: Iterable[int] | None = None) -> None:
        """Compare shards with their checksums, each once.

        Args:
            shards: their numbers, from 0; None compares all.

        Raises:
            InputError: a file has changed since it was written.
        """
        if not (new := sorted(self.unchecked.intersection(self.unchecked if shards is None else shards))):
            return
        with ThreadPoolExecutor(min(len(new), os.cpu_count() or 1)) as pool:
            hashes = pool.map(sha256_file, [self.shards[number].path for number in new])
            for number, found in zip(new, hashes, strict=True):
                if found != self.shards[number].sha256:
                    pool.shutdown(cancel_futures=True)
                    path = self.shards[number].path
                    raise InputError(
                        f"{path}: has changed since it was written: {index_of(path.parent).name} has another checksum; "
                        f"it comes from {self.made_by}"
                    )
        self.unchecked.difference_update(new)

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
        """The rows (B, ...) of these numbers, float32: of a slice, or of an array (B,) of numbers from 0.

        Raises:
            InputError: a shard that has not been read before has changed since it was written.
        """
        numbers = np.arange(*index.indices(len(self))) if isinstance(index, slice) else index
        out = np.empty((len(numbers), *self.row), self.dtype)
        shards = np.searchsorted(self.ends, numbers, side="right")
        self.check(np.unique(shards).tolist())
        for shard in np.unique(shards):
            first = int(self.ends[shard - 1]) if shard else 0
            with self.shards[shard].path.open("rb", buffering=0) as file:
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


def write_index(folder: Path, shards: Sequence[RowFile], row: Sequence[int], dtype: str) -> None:
    """Write <folder>.json, which names the shards in `folder`.

    Args:
        row: shape of a row.
        dtype: "float32" or "float16".
    """
    listed = [{"file": shard.path.name, "rows": shard.rows, "sha256": shard.sha256} for shard in shards]
    write_json(index_of(folder), {"dtype": dtype, "shape": list(row), "shards": listed})


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
        raise InputError(f"{path}: shards must be a list of at least one file with its rows; it comes from {made_by}")
    dtype = entry(content, "dtype", str, path)
    if dtype not in STORED:
        raise unknown(f"dtype in {path}", dtype, STORED)
    files = [
        RowFile(
            folder / require_name(f"{path}: file", shard.get("file")),
            entry(shard, "rows", int, path),
            entry(shard, "sha256", str, path),
        )
        for shard in shards
    ]
    return ShardedRows(files, entry(content, "shape", list, path), dtype, made_by)
