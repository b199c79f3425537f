"""Writing files so that a crash never leaves one that is half-written but looks whole."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ngldm.io.errors import InputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file name beside `path`, with its suffix, renamed to `path` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary directory beside `path` that takes its place, whole, if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """JSON, indented, keys in the order given, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path, *keys: str) -> dict[str, object]:
    """The content of a JSON file; with `keys`, of one that holds an object with at least those.

    Raises:
        InputError: the file is missing, is not JSON, or lacks the keys.
    """
    try:
        content = json.loads(require(path).read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if keys and not (isinstance(content, dict) and set(keys) <= set(content)):
        raise InputError(f"{path}: must hold a JSON object with the keys {', '.join(keys)}")
    return content


def require(path: Path, made_by: str = "the stage before this one (`dvc repro` runs all that are needed)") -> Path:
    """`path`, if it exists.

    Raises:
        InputError: it does not.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; it comes from {made_by}")
    return path


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(content: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of `content`."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
