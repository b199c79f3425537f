"""Faults of the disk as text, reserved space, temporary names. tests/faults/test_disk.py injects the faults."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ngldm.io import disk
from ngldm.io.disk import (
    StorageError,
    clear_temporaries,
    free_bytes,
    path_fault,
    require_place,
    reserve,
    storage_fault,
    storing,
    temporary_beside,
)
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_directory, atomic_path
from ngldm.io.images import create_array


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(errno.ENOSPC, "?"), "full"),
        (OSError(errno.EDQUOT, "?"), "quota"),
        (OSError(errno.EIO, "?"), "damaged"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "full"),
        (OSError("1000 requested and 10 written"), "full"),
    ],
)
def test_a_fault_of_the_disk_is_known(error: Exception, word: str, tmp_path: Path) -> None:
    fault = storage_fault(error, tmp_path / "none" / "a.npy", written=5)
    assert fault is not None
    assert str(fault).startswith(f"{tmp_path}/none/a.npy: ")
    assert word in str(fault)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "?"), ValueError("full"), OSError("full"), KeyError("os error")]
)
def test_other_errors_are_none(error: Exception, tmp_path: Path) -> None:
    assert storage_fault(error) is None
    with pytest.raises(type(error)), storing(tmp_path, tmp_path):
        raise error


def test_bad_input_stays_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such thing"), storing(tmp_path, tmp_path):
        raise InputError("no such thing") from OSError(errno.EACCES, "?")


def test_the_inner_fault_is_named_by_the_name_that_stays(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"out/a\.npy: the disk is full"),
        storing(tmp_path / "out", tmp_path / ".o.tmp"),
    ):
        raise StorageError(f"{tmp_path}/.o.tmp/a.npy: the disk is full")


def test_a_fault_of_another_file_names_that_file(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"model\.safetensors: you have no permission"),
        storing(tmp_path / "out", tmp_path / ".o.tmp"),
    ):
        raise PermissionError(errno.EACCES, "?", str(tmp_path / "model.safetensors"))


@pytest.mark.skipif(sys.platform != "linux", reason="how files are kept on the disk")
@pytest.mark.parametrize("fallocate", ["there", "refused", "missing"])
def test_the_space_of_an_array_is_on_the_disk(fallocate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "?")

    if fallocate == "refused":
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    elif fallocate == "missing":
        monkeypatch.delattr(os, "posix_fallocate")
    array = create_array(tmp_path / "a.npy", np.float32, (1000, 700))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes
    array[:] = np.arange(700)
    array.flush()  # type: ignore[attr-defined]
    np.save(tmp_path / "b.npy", np.broadcast_to(np.arange(700, dtype=np.float32), (1000, 700)))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_nothing_is_reserved_for_an_empty_array(tmp_path: Path) -> None:
    assert create_array(tmp_path / "a.npy", np.uint8, (0, 3)).shape == (0, 3)
    reserve(tmp_path / "a.npy", 0, 0)


def test_each_folder_is_cleared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a folder with many files would be read for each file that is written into it."""
    looked = []
    scan = os.scandir
    monkeypatch.setattr(disk.os, "scandir", lambda path: looked.append(path) or scan(path))
    left = temporary_beside(tmp_path / "a.npy", ".npy")  # of an earlier process with this one's number
    left.touch()
    clear_temporaries([tmp_path, tmp_path])
    assert not left.exists()
    left.touch()
    clear_temporaries([tmp_path])
    assert left.exists()
    assert looked == [tmp_path]


def test_free_bytes_of_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a" * 256, "too long"),
        ("a" * 250, "too long"),  # with the ending of the temporary name
        (f"{'a' * 256}/b", "too long"),
        ("\u00e4" * 125, "too long"),  # two bytes each
        ("file/b", "file is a file"),
        ("file/b/c", "file is a file"),
        ("..", "give the name"),
        ("/", "give the name"),
        (".", "give the name"),
    ],
)
def test_a_path_that_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(InputError, match=words):
        require_place(Path(path))
    with pytest.raises(InputError, match=words), atomic_path(Path("new") / path if path[0] == "a" else Path(path)):
        pass
    with pytest.raises(InputError, match=words), atomic_directory(Path(path)):
        pass
    assert [place.name for place in tmp_path.iterdir()] == ["file"]


def test_ordinary_paths_are_taken(tmp_path: Path) -> None:
    for path in ("a", "b/c/d.png", "a" * 200, "\u00e4" * 100):
        require_place(tmp_path / path)


def test_what_the_system_says_of_a_path_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long") as error:
        (tmp_path / ("a" * 300)).stat()
    fault = path_fault(error.value)
    assert isinstance(fault, InputError)
    assert str(fault).endswith("a name of a file or folder is too long")
    assert len(str(fault)) < 300
    assert path_fault(OSError(errno.ENOENT, "?", "x")) is None


def test_a_file_where_a_folder_is_to_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError) as error:
        (tmp_path / "a").mkdir(exist_ok=True)
    assert str(path_fault(error.value)) == f"'{tmp_path}/a': something else has this name already"
