"""A mark on the MLflow runs of a process, by which others know whether it lives: a dead one cannot end its runs.

A process holds the lock of a file as long as it works on runs: checkpoints/.run-<store>-<mark>.lock of the main
repository. A kill frees the lock. The file is there before the first run is made, so a kill at any moment is noticed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from ngldm.pipeline.tracking.care.journal import address
from ngldm.pipeline.workspace import main_root

TAG = "ngldm.process"  # of a run: the mark of the process that works on it
_own: ContextVar[str | None] = ContextVar("_own", default=None)


def own_mark() -> dict[str, str]:
    """The tag for runs that this process works on; none outside `marked`."""
    mark = _own.get()
    return {} if mark is None else {TAG: mark}


@contextmanager
def marked() -> Iterator[None]:
    """Let other processes know that this one works on the runs that it marks, as long as the block runs."""
    mark = uuid4().hex
    lock = FileLock(_folder() / f".run-{address()[:12]}-{mark}.lock")
    with suppress(OSError):  # where no file can be locked, the work goes on without it
        _folder().mkdir(parents=True, exist_ok=True)
        lock.acquire()
    token = _own.set(mark)
    try:
        yield
    finally:
        _own.reset(token)
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def marks_of_this_store() -> list[tuple[str, Path]]:
    """The marks of processes that live, or have died, and the files of their locks."""
    return [(file.stem.rpartition("-")[2], file) for file in sorted(_folder().glob(f".run-{address()[:12]}-*.lock"))]


def _folder() -> Path:
    return main_root() / "checkpoints"
