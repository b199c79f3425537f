"""What the signals of users and batch systems do to a command.

| signal | who sends it | what follows | exit code |
| --- | --- | --- | --- |
| SIGINT | Ctrl-C | the command stops; its last checkpoint is kept, its MLflow run is KILLED, one line says so | 130 |
| SIGTERM | Slurm at the time limit, `scancel`, `timeout`, `kill` | the same | 143 |
| SIGHUP | a terminal that is closed | the same | 129 |
| SIGUSR1 | Slurm before the limit (`#SBATCH --signal=USR1@120`) | a training saves a checkpoint after its step | |

A signal that was set to be ignored (`nohup`, a background job of a shell) stays so.

This module imports nothing heavy: a stage listens before its imports, which take seconds.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LAUNCHER = "NGLDM_LAUNCHER"  # process id of the launcher of ours that started this process
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
SAVING = "SIGUSR1"
AGAIN = 3.0  # seconds in which a second signal is taken to be the same, sent to a process and to its group


class Stopped(KeyboardInterrupt):
    """A signal ends the command.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _Heard:
    """What this process was told."""

    begun = False  # whether a signal raises `Stopped`; before that nothing has begun that must end well
    stopped: int | None = None
    since = 0.0
    saves = False


def listen() -> None:
    """Handle the signals from now on. One that ends the command ends the process at once, until `ends_well`."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name, act in (*((name, _stop) for name in ENDING), (SAVING, _save)):
        number = getattr(signal, name, None)  # Windows has not all of them
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, act)


@contextmanager
def ends_well() -> Iterator[None]:
    """Handle the signals within the block, where one that ends the command raises `Stopped`, once."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    _Heard.begun, _Heard.stopped, _Heard.saves = True, None, False
    listen()
    try:
        yield
    finally:
        _Heard.begun = False
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None and signal.getsignal(number) in (_stop, _save):
                    signal.signal(number, handler)


def stopped_by() -> int | None:
    """The signal that has ended the block of `ends_well`; None if there was none."""
    return _Heard.stopped


def told_to_save() -> bool:
    """Whether SIGUSR1 has come since the last call."""
    told, _Heard.saves = _Heard.saves, False
    return told


def say_stopped(number: int) -> None:
    """Say once for all processes of a command that a signal has ended it."""
    first = os.environ.get("RANK", "0") == "0"
    if first and os.environ.get(LAUNCHER) != str(os.getppid()):  # our launcher says it itself
        name = signal.Signals(number).name
        print(f"stopped by {name}; the last checkpoint, if any, is kept", file=sys.stderr, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    if _Heard.stopped is None and not _Heard.begun:
        say_stopped(number)
        os._exit(128 + number)
    now = time.monotonic()
    if _Heard.stopped is None:
        _Heard.stopped, _Heard.since = number, now
        raise Stopped(number)
    if number == signal.SIGINT and now - _Heard.since > AGAIN:  # an impatient user
        raise Stopped(number)


def _save(number: int, frame: FrameType | None) -> None:
    _Heard.saves = True
