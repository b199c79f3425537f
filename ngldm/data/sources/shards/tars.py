"""Shards of WebDataset: tar files in which files of one name and different suffixes are one sample.

The tar format is read by the package `webdataset`. Files and addresses are opened here: `webdataset` would run `curl`
in a shell.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Protocol

from ngldm.data.sources.shards.records import Record, ShardFault, Tally
from ngldm.data.sources.web import open_address, require_address, shown_address
from ngldm.io.errors import MAX_NAME, InputError
from ngldm.io.limits import MAX_IMAGE_FILE, require_members, require_unpacked

REMOTE = ("http://", "https://")
SUFFIXES = (".tar", ".tar.gz", ".tgz")
PACKED = (".tar.gz", ".tgz")
END = bytes(512)  # a tar file ends in blocks of zeros
META = re.compile(r"__[^/]*__($|/)")  # names of files that webdataset passes over


class Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Passing:
    """A stream that is watched while it is read: `tally` counts, `tail` holds its last bytes."""

    def __init__(self, stream: Stream, tally: Tally | None = None) -> None:
        self.stream, self.tally, self.tail = stream, tally, b""

    def read(self, size: int = -1) -> bytes:
        content = self.stream.read(size)
        if self.tally:
            self.tally.update(content)
        self.tail = (self.tail + content)[-len(END) :]
        return content


def expand(key: str, pattern: str, folder: Path) -> list[str]:
    """The shards that a pattern with braces means, such as train-{00000..00099}.tar.

    Args:
        key: of the pattern, for messages.
        pattern: paths, relative to `folder`, or addresses (http).
        folder: `dataset.source`; a file stands for the current folder.

    Raises:
        InputError: unbalanced braces, another kind of file, a file that is missing.
    """
    from webdataset.shardlists import expand_urls

    require_members(f"{key}: {pattern!r}", _count(pattern))
    try:
        names = expand_urls(pattern)
    except ValueError as error:
        raise InputError(
            f"{key}: {pattern!r} has unbalanced braces; write it like train-{{00000..00099}}.tar"
        ) from error
    root = folder if folder.is_dir() else Path()
    shards = [name if "://" in name else str(root / name) for name in names]
    for shard in shards:
        if not shard.lower().split("?")[0].endswith(SUFFIXES):
            raise InputError(
                f"{key}: {shown_address(shard) if '://' in shard else shard} is none of {', '.join(SUFFIXES)}"
            )
    for shard in shards:
        if "://" in shard:
            require_address(key, shard)
    missing = [shard for shard in shards if not shard.startswith(REMOTE) and not Path(shard).is_file()]
    if missing:
        raise InputError(f"{key}: {len(missing)} of {len(shards)} shards do not exist, the first is {missing[0]}")
    return shards


def _count(pattern: str) -> int:
    """At least as many names as the braces of a pattern mean, without making them."""
    total = 1
    for inside in re.findall(r"\{([^{}]*)\}", pattern):
        ends = re.fullmatch(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.-?\d{1,18})?", inside)
        total *= abs(int(ends[2]) - int(ends[1])) + 1 if ends else 10**18 if ".." in inside else 1 + inside.count(",")
    return total


@dataclass(frozen=True)
class TarShards:
    """The tar files of a split.

    Attributes:
        addresses: paths or addresses.
        image: suffixes of the images, with ; between them, such as "jpg;png".
        label: suffix of the classes: a file with a number or a name. None: there are no classes.
    """

    addresses: Sequence[str]
    image: str
    label: str | None

    @property
    def names(self) -> Sequence[str]:
        """The same without passwords, for messages and files."""
        return [shown_address(name) if name.startswith(REMOTE) else name for name in self.addresses]

    def records(self, number: int, tally: Tally) -> Iterator[Record]:
        """See `ngldm.data.sources.shards.records.Shards`."""
        address = self.addresses[number]
        name = shown_address(address) if address.startswith(REMOTE) else address
        stream, length = _open(address)
        with closing(stream):
            raw = _Passing(stream, tally)
            packed = address.lower().split("?")[0].endswith(PACKED)
            tar = _Passing(gzip.GzipFile(fileobj=raw)) if packed else raw  # type: ignore[call-overload]  # it only reads
            try:
                for sample in _samples(name, tar, tally):
                    yield self._record(name, sample)
                while tar.read(2**20):
                    pass
            except InputError:
                raise
            except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, HTTPException) as error:
                raise ShardFault(str(error.args[0] if error.args else error)) from error
            if length is not None and tally.size < length:
                raise ShardFault(f"truncated: {tally.size} of {length} bytes came")
            if tar.tail != END:
                raise ShardFault("truncated: it does not end as a tar file does")

    def _record(self, shard: str, sample: Mapping[str, object]) -> Record:
        key = str(sample["__key__"])
        files = {suffix: content for suffix, content in sample.items() if isinstance(content, bytes)}
        image = next((files[suffix] for suffix in self.image.lower().split(";") if suffix in files), None)
        if image is None:
            raise _missing("image", self.image, shard, key, files)
        if self.label is None:
            return Record(f"{shard}: {key}", image, 0)
        if self.label not in files:
            raise _missing("label", self.label, shard, key, files)
        return Record(f"{shard}: {key}", image, _class(f"{shard}: {key}.{self.label}", files[self.label]))


def _class(name: str, content: bytes) -> int | str:
    """The class that a file of a sample names.

    Raises:
        InputError: it is no short text.
    """
    text = content.decode("utf-8", "replace").strip()
    if "\N{REPLACEMENT CHARACTER}" in text or len(text) > MAX_NAME:
        raise InputError(f"dataset.label: {name} is no number or name of a class; without classes: null")
    return int(text) if text.isdecimal() else text


def _missing(option: str, suffix: str, shard: str, key: str, files: Mapping[str, bytes]) -> InputError:
    return InputError(f"dataset.{option}: no {suffix!r} in sample {key} of {shard}; it has {', '.join(sorted(files))}")


def _samples(name: str, stream: _Passing, tally: Tally) -> Iterator[dict[str, object]]:
    """The samples of an open tar file: the contents of its files by suffix, and `__key__`."""
    from webdataset.tariterators import group_by_keys

    yield from group_by_keys(_files(name, stream, tally))


def _files(name: str, stream: _Passing, tally: Tally) -> Iterator[dict[str, object]]:
    """The files of an open tar file as `webdataset.tariterators.tar_file_expander` gives them, of bounded size.

    That one reads each file whole, however large its header says that it is: 8 GiB of a sparse one of 20 KiB.
    """
    total = 0
    with tarfile.open(fileobj=stream, mode="r|*") as tar:  # type: ignore[call-overload]  # it only reads
        for count, member in enumerate(tar):
            require_members(name, count + 1)
            if not member.isreg() or META.match(member.name):
                continue
            if member.size > MAX_IMAGE_FILE:
                raise ShardFault(f"{member.name} has {member.size} bytes, above {MAX_IMAGE_FILE} for a file in a shard")
            total += member.size
            require_unpacked(name, total, tally.size)
            content = tar.extractfile(member)
            assert content is not None  # a regular file has content
            yield {"fname": member.name, "data": content.read(), "__url__": name}
            tar.members = []  # else they stay in memory
    yield {}  # a sample ends with its shard


class _Source(Stream, Protocol):
    def close(self) -> None: ...


def _open(name: str) -> tuple[_Source, int | None]:
    """An open file or address, and how many bytes it should have, if that is known."""
    if not name.startswith(REMOTE):
        return Path(name).open("rb"), None
    try:
        answer = open_address("dataset.shards", name)
    except InputError as error:
        raise InputError(f"{error}; run the stage again to go on") from None
    length = answer.headers.get("Content-Length")
    return answer, None if length is None else int(length)
