"""Files that are written completely or not at all, JSON, CSV and hashes.

This module imports neither torch nor numpy, because every command starts with it.

Here belongs what any file needs. Images have `images.py`, tensors `tensors.py`, the forms of our own data `ngldm.data`.
"""

import csv
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict, TypeVar

from ngldm.io import processes
from ngldm.io.disk import clear_temporaries, make_ordinary, require_place, storing, temporary_beside
from ngldm.io.errors import InputError, require_name
from ngldm.io.limits import MAX_ENTRIES, MAX_JSON, require_shallow

Kind = TypeVar("Kind")
Row = TypeVar("Row")


@contextmanager
def atomic_path(path: Path, durable: bool = False) -> Iterator[Path]:
    """A temporary file name beside `path`, with its suffix, renamed to `path` if the block succeeds.

    Args:
        durable: wait until the disk has it, so that it outlives a loss of power. It costs some milliseconds.

    Raises:
        InputError: `path` is a folder, or no path of a file.
        StorageError: the disk, a limit of it or a permission stands in the way.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file to write")
    require_place(path)
    temporary = temporary_beside(path, path.suffix)
    try:
        with storing(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            clear_temporaries([path.parent])
            yield temporary
            if durable:
                sync(temporary)
            make_ordinary(temporary)
            temporary.replace(path)
            if durable:
                sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the disk has a file's bytes, or the names of a folder's files."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot, and writes names in order
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows syncs no file that is only read
    try:
        os.fsync(number)
    except OSError as error:
        if not path.is_dir() or error.errno != errno.EINVAL:  # some network file systems sync no folders
            raise
    finally:
        os.close(number)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary directory beside `path` that takes its place, whole, if the block succeeds.

    Of several processes only the main one writes `path`: what the others put into their directories is thrown away.

    Raises:
        InputError: `path` is no path of a folder.
        StorageError: the disk, a limit of it or a permission stands in the way.
    """
    if not processes.is_main():
        with TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    require_place(path)
    temporary = temporary_beside(path)
    try:
        with storing(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            clear_temporaries([path.parent])
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            make_ordinary(temporary)
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, content: object) -> None:
    """JSON, indented, keys in the order given, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a file that is read whole.

    Raises:
        InputError: the file is missing, a folder, may not be read, or is larger than `most` bytes.
    """
    try:
        if (size := require(path).stat().st_size) > most:
            raise InputError(f"{path}: {size} bytes, above {most}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def parse_json(text: bytes | str, source: str) -> object:
    """The content of a JSON text.

    Raises:
        InputError: it is not JSON, or nested too deeply; the message begins with `source`.
    """
    try:
        content: object = json.loads(text)
    except (ValueError, RecursionError) as error:  # also of bytes that are not UTF-8, and of endless numbers
        raise InputError(f"{source}: not valid JSON ({error})") from error
    require_shallow(source, content, MAX_ENTRIES)
    return content


def read_json(path: Path, *keys: str) -> dict[str, object]:
    """The JSON object that a file holds, with at least the given keys. `entry` takes a value of a known type from it.

    Raises:
        InputError: the file is missing or cannot be read, is not JSON, holds something else than an object, or lacks a
            key.
    """
    content = parse_json(read_bytes(path, MAX_JSON), str(path))
    if not (isinstance(content, dict) and set(keys) <= set(content)):
        raise InputError(f"{path}: must hold a JSON object" + (f" with the keys {', '.join(keys)}" if keys else ""))
    return content


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table as CSV, atomically: a line with the columns, then the rows. Other keys of a row are left out."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path, made_by: str, make: Callable[[dict[str, str]], Row], columns: Iterable[str] = ()) -> list[Row]:
    """The rows of a CSV file.

    Args:
        made_by: what writes the file, for the message.
        make: a row from its cells, column to text.
        columns: those that the file must have, also if it has no rows.

    Raises:
        InputError: the file is missing or not text, lacks a column, or a cell is not what `make` needs.
    """
    rows = []
    try:
        with require(path, made_by).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise InputError(f"{path}: has no column {missing[0]!r}; it comes from {made_by}")
            for cells in reader:
                try:
                    if None in cells or None in cells.values():
                        raise ValueError(f"{len(reader.fieldnames or ())} cells are expected")
                    rows.append(make(cells))
                except (KeyError, ValueError, TypeError) as error:
                    raise InputError(
                        f"{path}: line {reader.line_num} is damaged ({error}); it comes from {made_by}"
                    ) from error
        with path.open("rb") as binary:
            if binary.seek(0, os.SEEK_END) and binary.seek(-1, os.SEEK_END) and binary.read() != b"\n":
                raise InputError(f"{path}: cut short: its last line does not end; it comes from {made_by}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table in CSV ({error}); it comes from {made_by}") from error
    return rows


def finite(text: str) -> float:
    """A cell of a table as a number, for `read_csv`.

    Raises:
        ValueError: it is no number, NaN or infinite.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


class Stepped(TypedDict):
    """A row with a step."""

    step: int


StepRow = TypeVar("StepRow", bound=Stepped)


def require_rising(path: Path, rows: list[StepRow]) -> list[StepRow]:
    """The rows, if each has a larger step than the one before.

    Raises:
        InputError: rows are missing their order, or one is there twice.
    """
    for before, after in pairwise(rows):
        if before["step"] >= after["step"]:
            raise InputError(
                f"{path}: step {after['step']} comes after step {before['step']}; its rows are not in order"
            )
    return rows


def entry(content: Mapping[str, object], key: str, kind: type[Kind], file: Path | None = None) -> Kind:
    """`content[key]`, if it has the type `kind`; an int also serves as a float.

    Args:
        file: which holds the content, for the message.

    Raises:
        InputError: the key is missing, or its value is of another type.
    """
    value = content.get(key)
    if kind is float and type(value) is int:
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        where = f"{file}: " if file else ""
        raise InputError(f"{where}{key}: {value!r} is not a value of type {kind.__name__}")
    return value


def require(path: Path, made_by: str = "the stage before this one (`dvc repro` runs all that are needed)") -> Path:
    """`path`, if it exists.

    Raises:
        InputError: it does not.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; it comes from {made_by}")
    return path


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """The paths that exist by the time of their last change; another process may remove some meanwhile."""
    times = {}
    for path in paths:
        with suppress(FileNotFoundError):
            times[path] = (path.stat().st_mtime_ns, path.name)
    return sorted(times, key=times.__getitem__, reverse=True)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of those of the files that are in a folder, by name."""
    return {name: sha256_file(folder / name) for name in names if (folder / name).is_file()}


def write_described(path: Path, content: Mapping[str, object], names: Iterable[str], key: str = "sha256") -> None:
    """Write JSON that describes files beside it, with their checksums and one of the description itself.

    Args:
        names: of the files; those that are not there are left out.
        key: gets the checksums, for `require_unchanged`.
    """
    plain = json.loads(json.dumps(content))  # as it will be read
    write_json(path, {**plain, key: {**checksums(path.parent, names), path.name: fingerprint(plain)}})


def require_unchanged(file: Path, key: str, content: Mapping[str, object]) -> None:
    """Compare files with the checksums that were written with them. It reads the files whole.

    Shapes and ranges do not show rows in another order, nor numbers that are wrong but possible.

    Args:
        file: JSON, beside the files that it describes.
        key: of the checksums in it, as `write_described` gives them. A file of an older version has none.
        content: of the file.

    Raises:
        InputError: a file has changed since it was written.
    """
    known = entry(content, key, dict, file) if key in content else {}
    for name, expected in known.items():
        if name == file.name:
            if fingerprint({own: value for own, value in content.items() if own != key}) != expected:
                raise InputError(f"{file}: has changed since it was written: its own checksum is wrong; make it again")
            continue
        path = file.parent / require_name(f"{file}: {key}", name)
        if sha256_file(require(path)) != expected:
            raise InputError(
                f"{path}: has changed since it was written: {file.name} has another checksum; make it again"
            )


def figure(content: Mapping[str, object], key: str, file: Path) -> float:
    """`content[key]` as a finite number, for a table or a picture.

    Raises:
        InputError: the key is missing, or it is no number, NaN or infinite.
    """
    value = entry(content, key, float, file)
    if not math.isfinite(value):
        raise InputError(f"{file}: {key}: {value} is not a finite number")
    return value


def fingerprint(content: object) -> str:
    """SHA-256, in hex, of the canonical JSON of `content`."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def differences(old: object, new: object, path: str = "") -> list[str]:
    """Where two JSON-able contents differ, e.g. ["settings.lr", "code"]; mappings are compared key by key."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return [] if fingerprint(old) == fingerprint(new) else [path]
    found = []
    for key in dict.fromkeys([*old, *new]):
        place = f"{path}.{key}" if path else str(key)
        found += differences(old[key], new[key], place) if key in old and key in new else [place]
    return found
