"""What a signal does to a block that ends well, and to a process in which nothing has begun."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ngldm.pipeline.signals import Stopped, ends_well, listen, stopped_by, told_to_save

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_once_and_the_old_handlers_come_back(name: signal.Signals) -> None:
    before = signal.getsignal(name)

    def stopped_twice() -> None:
        try:
            os.kill(os.getpid(), name)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), name)  # is ignored, so that the block can put away its things

    with pytest.raises(Stopped) as stop, ends_well():
        stopped_twice()
    assert stop.value.number == name
    assert stopped_by() == name
    assert signal.getsignal(name) is before


def test_a_user_who_presses_again_later_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reached = []
    with ends_well():
        for seconds in (0.0, 1.0, 10.0):
            now[0] = 100.0 + seconds
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except Stopped:
                reached.append(seconds)
    assert reached == [0.0, 10.0]


def test_a_wish_to_save_is_told_once() -> None:
    with ends_well():
        assert not told_to_save()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert [told_to_save(), told_to_save()] == [True, False]


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ends_well():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_before_anything_has_begun_a_signal_ends_the_process_with_one_line(rank: str) -> None:
    code = (
        "import os, signal; from ngldm.pipeline import signals; signals.listen(); os.kill(os.getpid(), signal.SIGTERM)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RANK": rank}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    line = "stopped by SIGTERM; the last checkpoint, if any, is kept\n"
    assert (ended.returncode, ended.stderr) == (143, line if rank == "0" else "")


def test_another_thread_cannot_listen_and_need_not() -> None:
    import threading

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
