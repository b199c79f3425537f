"""Faults of the disk: full, read-only, forbidden, limited. Each ends with one line, and leaves nothing half-written.

A fault is real where the machine allows it (a tmpfs of 1 MiB, limits of the process, another user). The commands run in
a forked child: a signal, as SIGBUS, must not end the tests, and torch is imported already.
"""

import errno
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ngldm.data.cache.latents import build_cache
from ngldm.io.disk import HOST, temporary_beside
from ngldm.io.files import atomic_directory, atomic_path, sha256_file, write_csv, write_json
from ngldm.io.images import save_png
from ngldm.io.items import write_items
from ngldm.io.tensors import save_tensors
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.pipeline.terminal import run
from tests.faults.child import Child

MIB = 2**20
Ended = tuple[int, str]


@pytest.fixture
def child(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ended]:
    """`child(action, *before)`: run actions, the last one as a command of ngldm, in a forked process. Code, stderr."""

    def call(action: Callable[[], Any], *before: Callable[[], Any]) -> Ended:
        def entry() -> None:
            for first in before:
                first()
            run(action)

        ended = Child(entry, tmp_path_factory.mktemp("child") / "texts").end()
        return ended.returncode, ended.stderr

    return call


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def everything(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def one_line(ended: Ended, *words: str) -> None:
    code, errors = ended
    assert code == 1, errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    for word in words:
        assert word in errors


def a_folder(path: Path) -> None:
    with atomic_directory(path) as folder:
        np.save(folder / "images.npy", np.ones(4 * MIB, np.uint8))


def an_archive(path: Path) -> None:
    with atomic_path(path) as temporary:
        np.savez(temporary, a=np.ones(4 * MIB, np.uint8))


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.json": lambda path: write_json(path, "x" * 4 * MIB),
    "a.csv": lambda path: write_csv(path, ["a"], ({"a": "x" * 1000} for _ in range(4000))),
    "a.safetensors": lambda path: save_tensors({"a": torch.ones(MIB)}, {}, path),
    "a.png": lambda path: save_png(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8), path),
    "a.npz": an_archive,
    "folder": a_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_with_path_and_bytes(name: str, small_disk: Path, child: Callable[..., Ended]) -> None:
    path = small_disk / name
    one_line(child(lambda: WRITERS[name](path)), str(path), "full", "bytes")
    assert everything(small_disk) == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_limit_of_the_size_of_files_is_one_line(name: str, tmp_path: Path, child: Callable[..., Ended]) -> None:
    path, limit = tmp_path / "out" / name, MIB // 2
    limited = child(lambda: WRITERS[name](path), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    one_line(limited, str(path), "bytes")
    assert everything(tmp_path / "out") == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_only_read_is_one_line(name: str, small_disk: Path, child: Callable[..., Ended]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    one_line(child(lambda: WRITERS[name](small_disk / name)), str(small_disk / name), "read-only")


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_of_somebody_else_is_one_line(name: str, child: Callable[..., Ended]) -> None:
    if os.getuid():
        pytest.skip("only root can become another user")
    one_line(child(lambda: WRITERS[name](Path("/usr/lib") / name), lambda: os.setuid(65534)), "/usr/lib", "permission")


def test_a_file_of_somebody_else_is_one_line(tmp_path: Path, child: Callable[..., Ended]) -> None:
    """Also where the reader speaks of a damaged file: the file may be in order."""
    from ngldm.io.images import open_array

    if os.getuid():
        pytest.skip("only root can become another user")
    np.save(tmp_path / "a.npy", np.zeros(3, np.float32))
    (tmp_path / "a.npy").chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o111)
    read = child(lambda: open_array(tmp_path / "a.npy", np.float32, "a test"), lambda: os.setuid(65534))
    one_line(read, str(tmp_path / "a.npy"), "permission")


def test_too_many_open_files_are_one_line(tmp_path: Path, child: Callable[..., Ended]) -> None:
    def exhaust() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with suppress(OSError):
            while True:
                os.open(os.devnull, os.O_RDONLY)

    one_line(child(lambda: write_json(tmp_path / "a.json", 1), exhaust), "a.json", "open files", "64")


def test_a_quota_that_is_used_up_is_one_line(
    tmp_path: Path, child: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No quota can be set here, so the system's answer is put in its place."""

    def refuse(*args: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    path, batch = tmp_path / "images.npy", np.ones((10, 8, 8, 1), np.uint8)
    one_line(child(lambda: write_items(iter([batch]), 10, path, batch)), str(path), "quota", "640 bytes")


def samples(path: Path) -> None:
    """800 KiB."""
    batch = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 1), np.uint8)
    with atomic_directory(path) as folder:
        write_items(iter([batch] * 8), 800, folder / "images.npy", batch)


def latents(path: Path) -> None:
    """500 KiB."""
    images = np.random.default_rng(0).integers(0, 256, (160, 28, 28, 1), np.uint8)
    build_cache(build_autoencoder({"kind": "identity"}, (1, 28, 28)), images[:120], images[120:], path)


@pytest.mark.parametrize("write", [samples, latents])
def test_an_array_that_does_not_fit_ends_before_it_is_filled(
    write: Callable[[Path], None], small_disk: Path, tmp_path: Path, child: Callable[..., Ended]
) -> None:
    """A memory-mapped page that finds no space is a SIGBUS, without a word. A rerun with space gives the same files."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(MIB - 300 * 1024))
    path = small_disk / "out"
    one_line(child(lambda: write(path)), str(path), "full", "are needed", "are free")
    assert everything(small_disk) == ["filler"]
    filler.unlink()
    assert child(lambda: write(path)) == (0, "")
    assert child(lambda: write(tmp_path / "elsewhere")) == (0, "")
    for file in (tmp_path / "elsewhere").iterdir():
        assert sha256_file(path / file.name) == sha256_file(file)


DEAD = 2**22 + 1  # above the highest number of a process on Linux


def test_what_dead_processes_left_is_removed_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: Callable[..., Ended]
) -> None:
    from ngldm.pipeline.terminal import command

    def stage() -> None:
        pass

    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples" / "laplace" / f".auto.{DEAD}.tmp").mkdir(parents=True)
    (tmp_path / "samples" / "laplace" / f".auto.{DEAD}.tmp" / "images.npy").touch()
    (tmp_path / "samples" / f".laplace-auto.{DEAD}.tmp").mkdir()
    (tmp_path / f".reports.{DEAD}.tmp").mkdir()
    (tmp_path / "metrics" / "train").mkdir(parents=True)
    (tmp_path / "metrics" / "train" / f".laplace.{DEAD}.tmp.json").touch()
    same_name = f"{HOST[:-8]}00000000"  # a container of the same name, or this machine before its last start
    kept = [f".laplace.{os.getppid()}.tmp.json", f".laplace.{DEAD}@another-machine.tmp.json", ".hidden", "a.5.tmp"]
    kept += [f".laplace.{DEAD}@{same_name}.tmp.json", f".old.{os.getppid()}@{HOST}.tmp.json"]
    for name in kept:
        (tmp_path / "metrics" / "train" / name).touch()
    week = time.time() - 8 * 24 * 3600
    for name in (f".stale.{DEAD}@another-machine.tmp.json", f".stale.{os.getppid()}@{same_name}.tmp.json"):
        (tmp_path / "metrics" / "train" / name).touch()
        os.utime(tmp_path / "metrics" / "train" / name, (week, week))
    monkeypatch.setattr(sys, "argv", ["stage"])
    assert child(command(stage)) == (0, "")
    assert everything(tmp_path / "metrics") == sorted([*kept, "train"])
    assert everything(tmp_path / "samples") == ["laplace"]
    assert not list(tmp_path.glob(".*.tmp"))


def test_dvc_and_git_see_no_temporary(root: Path) -> None:
    """Else one that is left in samples/ counts as a part of what the stage `report` depends on, for ever."""
    from dvc.repo import Repo

    folder = temporary_beside(root / "samples" / "laplace" / "auto")
    file = temporary_beside(root / "tuning" / "results.csv", ".csv")
    with Repo(str(root)) as repo:
        assert repo.dvcignore.is_ignored_dir(str(folder))
        assert repo.dvcignore.is_ignored_file(str(file))
        assert not repo.dvcignore.is_ignored_dir(str(root / "samples" / "laplace" / "auto"))
    assert subprocess.run(["git", "check-ignore", "-q", file], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_modes_that_the_user_asked_for(umask: int, mode: int, tmp_path: Path) -> None:
    """safetensors writes 0600 whatever the umask is, so a second user of the cluster could not read a model."""
    code = """
import sys, tempfile
from pathlib import Path
import torch
from ngldm.io.disk import temporary_beside
from ngldm.io.files import atomic_directory
from ngldm.io.tensors import save_tensors
save_tensors({"a": torch.ones(3)}, {}, Path("a.safetensors"))
with atomic_directory(Path("folder")) as folder:
    (folder / "inner").mkdir()
    with tempfile.NamedTemporaryFile(dir=folder / "inner", delete=False) as file:
        file.write(b"1")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, umask=umask, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}
