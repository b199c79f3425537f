"""What a process does that is one of several: it joins them, checks that all are alike, works, and ends with them."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from ngldm.io import processes
from ngldm.io.disk import ending_of
from ngldm.io.errors import InputError
from ngldm.io.files import differences
from ngldm.io.processes import LostProcess
from ngldm.pipeline.closure import code_hash
from ngldm.pipeline.many.variables import ENDING, HIGHEST_PORT, MOST_PROCESSES, timeout, whole_number
from ngldm.pipeline.signals import LAUNCHER, Stopped, say_stopped

SHORT = 3.0  # seconds in which the main process says of a fault that it has it too


def join(work: Callable[[], Any], file: Path) -> Any:
    """Do the work as one of the processes that the environment names.

    If the input is bad (exit code 2), or the disk has a fault (1), all processes end, and none is started again.
    """
    try:
        return _joined(work, file)
    except Stopped as stop:  # also while a fault is told: the launcher ends all as soon as one has told it
        say_stopped(stop.number)
        leave(128 + stop.number)


def _joined(work: Callable[[], Any], file: Path) -> Any:
    _end_with_parent()
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    try:
        _require_joinable()
        processes.start(timeout())
        if again and processes.is_main():
            print(f"a process ended: all {processes.size()} are started again (restart {again})", flush=True)
        _require_same(file)
        result = work()
    except (InputError, OSError) as error:
        if (ending := ending_of(error)) is None:
            raise
        line, code = ending
        _tell("refused", line, SHORT)
        if (launcher := os.environ.get(LAUNCHER)) and int(launcher) == os.getppid():
            _write_ending(Path(os.environ[ENDING]), code)
            os.kill(int(launcher), signal.SIGUSR2)
        if processes.size() > 1:
            leave(code)
        raise SystemExit(code) from None
    except LostProcess as error:
        _tell("lost", str(error), processes.ROLL_CALL + SHORT)
        leave(1)
    processes.stop()
    return result


def _write_ending(file: Path, code: int) -> None:
    """Write the exit code whole or not at all: the launcher ends this process as soon as another one has told it."""
    own = file.with_name(f"{file.name}-{os.getpid()}")
    with suppress(OSError):
        own.write_text(str(code))
        own.replace(file)


def leave(code: int) -> NoReturn:
    """End this process without torch's clean-up.

    That waits for processes that are lost, and aborts the process if one of its threads is busy at that moment.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _require_joinable() -> None:
    """Check the variables that torchrun sets for each process.

    Raises:
        InputError: one is missing or out of range.
    """
    whole_number("RANK", 0, 0, whole_number("WORLD_SIZE", 1, 1, MOST_PROCESSES) - 1)
    whole_number("LOCAL_RANK", 0, 0, MOST_PROCESSES)
    for variable in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(variable):
            raise InputError(f"{variable}: missing; WORLD_SIZE and RANK need it, torchrun sets all of them")
    whole_number("MASTER_PORT", 0, 1, HIGHEST_PORT)


def _tell(word: str, message: str, seconds: float) -> None:
    """Print a fault: on the main process, else only if the main process does not have it too."""
    _record(message)
    if not processes.is_main():
        if processes.heard(word, seconds):
            processes.say(f"{word} {processes.rank()}")
            return
        message = f"{message} (process {processes.rank()} on {socket.gethostname()})"
    print(f"error: {message}", file=sys.stderr, flush=True)
    processes.say(word)
    if processes.is_main():  # it may hold the store by which the others hear of it
        end = time.monotonic() + SHORT
        for rank in range(1, processes.size()):
            processes.heard(f"{word} {rank}", max(0.1, end - time.monotonic()))


def _record(message: str) -> None:
    """Write a fault to the file that torchrun has for it. So the report that torchrun prints last ends with it."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ and LAUNCHER not in os.environ:
        from torch.distributed.elastic.multiprocessing.errors import ErrorHandler

        try:
            raise InputError(message) from None  # the handler writes the error that is being handled
        except InputError as error:
            ErrorHandler().record_exception(error)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, also if that was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _require_same(file: Path) -> None:
    """Check that all processes run the same command with the same parameters and the same code.

    Raises:
        InputError: one of them differs; the message says in what.
    """
    import torch
    import yaml

    params = Path("params.yaml")
    try:
        content = yaml.safe_load(params.read_text()) if params.is_file() else None
    except (yaml.YAMLError, ValueError, RecursionError):  # the check of params.yaml says what is wrong
        content = params.read_text()
    own = {"arguments": sys.argv[1:], "params": content, "code": code_hash(file), "torch": torch.__version__}
    all_own = processes.gather((socket.gethostname(), own))
    for rank, (host, theirs) in enumerate(all_own):
        if changed := differences(all_own[0][1], theirs):
            raise InputError(
                f"process {rank} on {host} differs from process 0 on {all_own[0][0]} in: {', '.join(changed)}; "
                "all must have the same"
            )
