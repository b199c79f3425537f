"""A process that works is waited for, one that hangs is not."""

import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from ngldm.pipeline.tracking.care.turns import Hangs, turn


def test_one_that_works_longer_is_waited_for(tmp_path: Path) -> None:
    file, order = tmp_path / "a.lock", list[str]()
    begun = threading.Event()

    def work() -> None:
        with turn(file, 1.0, 60.0):
            begun.set()
            time.sleep(3.0)
            order.append("first")

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    with turn(file, 1.5, 60.0):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert not (tmp_path / "a.alive").exists()


def test_one_that_hangs_is_given_up(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    with FileLock(file):
        start = time.monotonic()
        with pytest.raises(Hangs, match="end the process"), turn(file, 1.0, 60.0):
            raise AssertionError("must not run")
        assert time.monotonic() - start < 5.0


def test_a_block_that_raises_ends_its_turn(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    with pytest.raises(ValueError, match="fault"), turn(file, 1.0, 1.0):
        raise ValueError("fault")
    with turn(file, 0.1, 0.1):
        pass
