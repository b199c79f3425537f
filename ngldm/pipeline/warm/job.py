"""The fork of the warm process that does a stage: it begins as if Python had been started for it, and ends so."""

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ngldm.pipeline.signals import listen
from ngldm.pipeline.warm.client import GO, READY

SET_PARENT_DEATH_SIGNAL = 1  # of prctl


@dataclass
class Job:
    """A stage that this process, a fork, is to do.

    Attributes:
        files: the command's standard streams, and a file that says what is to be done.
        line: the connection to the command.
        parent: process id of the warm process.
        set_by_imports: the environment's variables that imports have set.
    """

    files: list[int]
    line: socket.socket
    parent: int
    set_by_imports: Mapping[str, str]

    def run(self) -> None:
        """Become the stage: as if Python had been started for it. Ends if the command does not want it any more."""
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        about = json.loads(os.pread(self.files[3], os.fstat(self.files[3]).st_size, 0))
        os.setpgid(0, about["group"])
        listen()
        self.line.send(b"%s %d" % (READY, os.getpid()))
        if self.line.recv(100) != GO or os.getppid() != self.parent:
            os._exit(1)
        self.line.close()
        for number, stream in enumerate(self.files[:3]):
            os.dup2(stream, number)
        for file in self.files:
            os.close(file)
        os.environ.clear()
        os.environ.update(about["environment"] | self.set_by_imports)
        sys.stdin = open(0, encoding=sys.stdin.encoding, errors=sys.stdin.errors, closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = _writer(1, sys.stdout), _writer(2, sys.stderr)
        module, *arguments = about["argv"]
        sys.argv, sys.orig_argv = ["-m", *arguments], [sys.executable, "-m", module, *arguments]
        importlib.invalidate_caches()
        gc.enable()
        code = 0
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = _code(end)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        _end(code)


def _code(end: SystemExit) -> int:
    """The exit code that Python gives for it. A text is printed."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _end(code: int) -> NoReturn:
    """End this fork as `multiprocessing` ends its own: its threads and what is to be done at the end, no more.

    Python itself would free all that was imported, and so first copy it from the warm process: 2 s for each stage.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 120  # as Python's
    os._exit(code)


def _writer(number: int, like: Any) -> io.TextIOWrapper:
    """A text stream as Python makes it at its start."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    file = open(number, "wb", buffering=0 if unbuffered else -1, closefd=False)  # noqa: SIM115
    by_line = not unbuffered and (os.isatty(number) or number == 2)
    return io.TextIOWrapper(file, like.encoding, like.errors, line_buffering=by_line, write_through=unbuffered)
