"""Shards that Hugging Face `datasets` reads: a data set of the hub, parquet files, or a folder of images.

Each parquet file is a shard. What `datasets` reads in another way has the shards that it makes of it; of a folder of
images it makes one.
"""

import errno
import lzma
import os
import socket
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ngldm.data.sources.shards.records import Record, ShardFault, Tally
from ngldm.io.errors import InputError
from ngldm.io.files import entry
from ngldm.io.limits import MAX_IMAGE_FILE

if TYPE_CHECKING:
    from datasets import IterableDataset

ROWS = 256  # in memory at a time; without it `datasets` takes a row group, and refuses a file without rows
PAUSES = (1.0, 2.0)  # seconds between tries to reach the hub
UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
PACKED = {"zip", "bz2", "gzip", "lz4", "xz", "zstd"}  # archives, as `datasets` names the files in them
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class HubShards:
    """The shards of a split.

    Attributes:
        names: files, or <split>[<number>].
        image, label: columns. No label: there are no classes.
        whole: the split; None where `names` are parquet files.
        folder: in which files lie that rows of `whole` may name; None for a data set of the hub.
    """

    names: Sequence[str]
    image: str
    label: str | None
    whole: "IterableDataset | None"
    folder: Path | None = None

    def records(self, number: int, tally: Tally) -> Iterator[Record]:
        """See `ngldm.data.sources.shards.records.Shards`. The hash is of the images and labels."""
        from datasets.exceptions import DatasetsError
        from pyarrow import ArrowException

        name = self.names[number]
        try:
            part = self._part(number)
            for index, row in enumerate(part):
                record = self._record(f"{name}: row {index}", row)
                tally.update(record.content)
                tally.update(f"\n{record.label}\n".encode())
                yield record
        except InputError:
            raise
        except (ArrowException, DatasetsError, *UNREADABLE) as error:
            raise ShardFault(_reason(error)) from error

    def _part(self, number: int) -> "IterableDataset":
        from datasets import Image, load_dataset

        if self.whole is None:
            files = {"data_files": [self.names[number]], "split": "train"}
            part = load_dataset("parquet", **files, streaming=True, batch_size=ROWS)
        else:
            part = self.whole.shard(len(self.names), number)
        columns = part.column_names
        if columns is not None:
            self._require(self.names[number], columns)
        if isinstance((part.features or {}).get(self.image), Image):
            part = part.cast_column(self.image, Image(decode=False))  # our own reader decodes, as it does for folders
        wanted = [self.image] if self.label is None else [self.image, self.label]
        return part.select_columns(wanted) if columns is not None else part

    def _require(self, name: str, columns: Sequence[str]) -> None:
        for option, column in (("image", self.image), ("label", self.label)):
            if column is not None and column not in columns:
                raise InputError(f"dataset.{option}: no column {column!r} in {name}; it has {', '.join(columns)}")

    def _record(self, name: str, row: Mapping[str, object]) -> Record:
        self._require(name, list(row))
        label = 0 if self.label is None else row[self.label]
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise InputError(
                f"dataset.label: {label!r} in {name} is neither a whole number nor a name; without classes: null"
            )
        return Record(name, self._content(name, row[self.image]), label)

    def _content(self, name: str, value: object) -> bytes:
        """The bytes of the image file, which the column holds itself or names by its path.

        Raises:
            InputError: it does neither, or names a file that is not of this data set.
            ShardFault: the file is too large.
        """
        if isinstance(value, bytes):
            return value
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            return entry(value, "bytes", bytes)
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            import fsspec

            if not self._has(value["path"]):
                raise InputError(
                    f"dataset.image: {name} names {value['path']!r}, which is no file of this data set; "
                    f"column {self.image!r} must hold the image files themselves"
                )
            with fsspec.open(value["path"], "rb") as file:
                content: bytes = file.read(MAX_IMAGE_FILE + 1)
            if len(content) > MAX_IMAGE_FILE:
                raise ShardFault(f"{value['path']} has more than {MAX_IMAGE_FILE} bytes, too many for an image file")
            return content
        raise InputError(
            f"dataset.image: column {self.image!r} in {name} holds {type(value).__name__}, not image files"
        )

    def _has(self, path: str) -> bool:
        """Whether `datasets` itself named the file; a row of a table could name any file of this machine."""
        *packed, file = path.split("::")  # <kind>://<name>::<archive>, of a file in an archive
        if self.whole is None or not {part.partition("://")[0] for part in packed} <= PACKED:
            return False
        if self.folder is None:
            return file.startswith("hf://datasets/")
        plain = Path(os.path.abspath(file))  # noqa: PTH100  # links in the folder are its owner's
        # What does not begin as a path may be an address, such as http://host/../../<folder>.
        return file.startswith(os.sep) and plain.is_relative_to(self.folder.absolute())


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:  # `datasets` says only that generating failed
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def _no_connection(error: BaseException | None) -> OSError | None:
    """The error of the system behind another, if it says that there is no connection."""
    while error is not None:
        if isinstance(error, socket.gaierror | ConnectionRefusedError):
            return error
        if isinstance(error, OSError) and error.errno in UNREACHABLE:
            return error
        error = error.__cause__ or error.__context__
    return None


def open_hub(config: Mapping[str, object]) -> dict[str, HubShards]:
    """The shards of `train` and, if there is one, of `test`.

    Args:
        config: the options of the data set `huggingface` (`ngldm.data.sources.names`).

    Raises:
        InputError: the hub cannot be reached; no such data set, revision, subset, file or split.
    """
    hub, source = config.get("hub"), Path(entry(config, "source", str))
    builder = _Builder(config, str(hub) if hub else str(source))
    wanted = {"train": config.get("train_split"), "test": config.get("test_split")}
    return {split: builder.shards(f"dataset.{split}_split", str(name)) for split, name in wanted.items() if name}


class _Builder:
    """A data set of the hub or of this machine, with its splits."""

    def __init__(self, config: Mapping[str, object], path: str) -> None:
        from datasets import load_dataset_builder

        self.config, self.path = config, path
        if config.get("hub"):
            self._require_connection()
        try:
            if path.endswith(".parquet") and not config.get("hub"):
                self.builder = load_dataset_builder("parquet", data_files={"train": path})
            else:
                self.builder = load_dataset_builder(path, config.get("subset"), revision=config.get("revision"))
        except UNREADABLE as error:
            raise self._refusal(error) from error

    def _require_connection(self) -> None:
        """Check that the hub can be reached. `huggingface_hub` would try for half a minute, which no setting shortens.

        A slow or faulty answer is left to it, with its retries: only what the system calls no connection counts.

        Raises:
            InputError: there is no connection, also after some seconds.
        """
        from datasets import config
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        if config.HF_HUB_OFFLINE:  # then it asks nobody
            return
        place = {"revision": self.config.get("revision"), "repo_type": "dataset", "endpoint": config.HF_ENDPOINT}
        try:
            page = hf_hub_url(self.path, config.REPOCARD_FILENAME, **place)
        except ValueError as error:
            raise InputError(f"dataset.hub: {self.path!r} is no name of a data set ({_reason(error)})") from error
        for pause in (*PAUSES, None):
            try:
                get_hf_file_metadata(page)
                return
            except Exception as error:  # that of no connection is of the HTTP library, which others replace
                if (lost := _no_connection(error)) is None:
                    return
                if pause is None:
                    raise self._refusal(lost) from error
            time.sleep(pause)

    def _refusal(self, error: Exception) -> InputError:
        reason = " ".join(str(error).split())
        if not self.config.get("hub"):
            return InputError(f"dataset.source: {self.path} cannot be read by `datasets` ({reason})")
        command = f"hf download --repo-type dataset {self.path} --revision {self.config.get('revision')}"
        return InputError(
            f"dataset.hub: {self.path!r} cannot be loaded ({reason}). Without a connection: load it on another machine "
            f"(`{command} --local-dir FOLDER`), copy the folder, and give it as dataset.source, with dataset.hub=null"
        )

    def shards(self, key: str, split: str) -> HubShards:
        files = self.builder.config.data_files
        image, label = entry(self.config, "image", str), self.config.get("label")
        columns = (image, None if label is None else str(label))
        if files is not None and self._is_parquet(files):
            if split not in files:
                raise self._no_split(key, split, files)
            return HubShards([os.fspath(file) for file in files[split]], *columns, None)
        try:
            whole = self.builder.as_streaming_dataset()
        except UNREADABLE as error:
            raise self._refusal(error) from error
        if split not in whole:
            raise self._no_split(key, split, whole)
        count = whole[split].num_shards
        folder = None if self.config.get("hub") else Path(self.path)
        return HubShards([f"{self.path}: {split}[{i}]" for i in range(count)], *columns, whole[split], folder)

    def _is_parquet(self, files: Mapping[str, Sequence[str]]) -> bool:
        return all(str(file).endswith(".parquet") for split in files.values() for file in split)

    def _no_split(self, key: str, split: str, splits: Mapping[str, object]) -> InputError:
        return InputError(f"{key}: {self.path} has no split {split!r}; it has {', '.join(map(str, splits))}")
