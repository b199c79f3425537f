"""The lock of a training: only one command at a time has the folder of its checkpoints.

It is a file beside the folder. The lock of a process that was killed is free.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ngldm.io import processes
from ngldm.io.errors import InputError

WAIT = 0.5  # seconds between two words of the main process to the others, below the shortest NGLDM_TIMEOUT


@contextmanager
def alone(folder: Path, on_wait: Callable[[str], object] = lambda holder: None) -> Iterator[None]:
    """Hold the lock of a folder within the block. If the folder is gone at the end, the lock's file goes too.

    The main process has the lock, and the others wait with it, however long that takes.

    Args:
        on_wait: called once by the main process if there is another one to wait for, with its id and its machine.

    Raises:
        InputError: the lock cannot be written.
    """
    lock = _lock(folder)
    holder = processes.from_main(lambda: _locked_by_other(lock, folder.parent, 0.0))
    if holder is not None and processes.is_main():
        on_wait(holder)
    while holder is not None:
        holder = processes.from_main(lambda: _locked_by_other(lock, folder.parent, WAIT))
    try:
        yield
    finally:
        if processes.is_main():
            if not folder.exists():
                _unlink(lock)
            lock.release()


@contextmanager
def if_free(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder within the block, if nobody has it; yields whether. Then the lock's file is removed."""
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
        _unlink(lock)
    finally:
        lock.release()


def locked(root: Path, pattern: str) -> list[Path]:
    """The folders in `root` that have the file of a lock, and a name of the pattern. They need not exist."""
    return [path.with_name(path.stem[1:]) for path in root.glob(f".{pattern}.lock")]


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def _locked_by_other(lock: FileLock, root: Path, seconds: float) -> str | None:
    """Try so long to take the lock. None if this process has it now, else who has it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            return _holder(lock)
        with suppress(PermissionError):  # Windows lets nobody write a locked file
            Path(lock.lock_file).write_text(f"process {os.getpid()} on {socket.gethostname()}")
    except OSError as error:
        raise InputError(f"{root}: cannot keep checkpoints here ({error})") from error
    return None


def _holder(lock: FileLock) -> str:
    """The process that holds a lock, as it has written it into the lock's file."""
    with suppress(OSError):  # it has just ended
        return Path(lock.lock_file).read_text() or "another process"
    return "another process"


def _unlink(lock: FileLock) -> None:
    """Remove the file of a lock that is held. Who waits for it then makes a new one."""
    with suppress(OSError):  # Windows: the file is open
        Path(lock.lock_file).unlink()
