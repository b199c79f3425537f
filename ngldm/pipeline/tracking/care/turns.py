"""Processes that take turns, and notice if the one whose turn it is hangs.

Making the tables of a store takes seconds, on a busy machine many. So who waits does not count seconds alone: the
process whose turn it is touches a file all the time, and only if it stops doing that it is given up.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

BEAT = 0.5  # seconds between two touches


class Hangs(RuntimeError):
    """The process whose turn it is does not go on."""


@contextmanager
def turn(file: Path, seconds: float, most: float) -> Iterator[None]:
    """Run the block while no other process runs one for the same file.

    Args:
        file: of the lock.
        seconds: so long may the process whose turn it is show no sign of life.
        most: so long is waited at most.

    Raises:
        Hangs: neither its turn ended nor a sign came.
    """
    lock, sign = FileLock(file), file.with_suffix(".alive")
    end, silent_since, seen = time.monotonic() + most, time.monotonic(), _touched(sign)
    while not lock.is_locked:
        with suppress(Timeout):
            lock.acquire(timeout=BEAT)
        if (now := _touched(sign)) != seen:
            silent_since, seen = time.monotonic(), now
        if not lock.is_locked and (time.monotonic() > end or time.monotonic() - silent_since > seconds):
            raise Hangs(f"{file} was held by another process for {seconds:g} s; end the process that holds it")
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT):
            with suppress(OSError):
                sign.touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        sign.unlink(missing_ok=True)
        lock.release()


def _touched(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
