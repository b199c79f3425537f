"""The warm process: it has imported what the stages import, and forks one for each command that asks for it.

python -m ngldm.pipeline.warm.server <socket> <package of the stages>

It computes nothing itself. So it has no threads that a fork would lose, and has touched no GPU. It forks only while
every file that it has imported is as it was. It ends when it has had nothing to do for `IDLE` seconds, or when a file
has changed. Its stages end with it.
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ngldm.pipeline.signals import listen
from ngldm.pipeline.warm.client import SECONDS, TAKEN

IDLE = 20.0  # seconds; DVC takes a few between two stages
LONGEST = 1 << 24  # bytes of a request
SET_PARENT_DEATH_SIGNAL = 1  # of prctl


@dataclass
class Job:
    """A stage that this process, a fork, is to do."""

    about: Mapping[str, Any]
    streams: list[int]
    line: socket.socket
    parent: int

    def run(self) -> None:
        """Become the stage: as if Python had been started for it."""
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != self.parent:
            os._exit(1)
        os.setpgid(0, self.about["group"])
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it may write where the command may
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(self.about["environment"])
        sys.stdin = open(0, encoding=sys.stdin.encoding, closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = _writer(1, sys.stdout), _writer(2, sys.stderr)
        module, *arguments = self.about["argv"]
        sys.argv, sys.orig_argv = ["-m", *arguments], [sys.executable, "-m", module, *arguments]
        threading.Thread(target=self._die_with_command, daemon=True).start()
        listen()
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

    def _die_with_command(self) -> None:
        if not self.line.recv(1):
            os.kill(os.getpid(), signal.SIGKILL)


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
    unbuffered, shown = bool(os.environ.get("PYTHONUNBUFFERED")), os.isatty(number) or number == 2
    binary = open(number, "wb", buffering=0 if unbuffered else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        binary, like.encoding, like.errors, line_buffering=shown and not unbuffered, write_through=unbuffered
    )


def stamps() -> dict[str, tuple[int, ...]]:
    """When each imported file was changed, and its size."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {file: _stamp(file) for file in files if file}


def _stamp(file: str) -> tuple[int, ...]:
    try:
        about = Path(file).stat()
    except OSError:
        return ()
    return (about.st_mtime_ns, about.st_size, about.st_ino)


def imports(package: str) -> None:
    """Import what the modules of a package import, and let it `prepare`. The modules themselves stay to be run."""
    stages = importlib.import_module(package)
    getattr(stages, "prepare", lambda: None)()
    for found in pkgutil.iter_modules(stages.__path__, f"{package}."):
        importlib.import_module(found.name)
        del sys.modules[found.name]


class Server:
    """Listens at a socket, forks stages, and tells each command how its stage ended.

    Args:
        place: the socket's path.
        listening: the socket.
        turn: an open file, whose lock says that this process is the one that listens there.
    """

    def __init__(self, place: Path, listening: socket.socket, turn: int) -> None:
        self.place, self.listening, self.turn, self.files = place, listening, turn, stamps()
        self.selector = selectors.DefaultSelector()
        self.selector.register(listening, selectors.EVENT_READ, None)
        self.stages: dict[int, tuple[int, socket.socket]] = {}  # by the file that becomes readable at its end

    def serve(self) -> Job | None:
        """Serve until there is nothing to do. Returns a job in the fork that is to do it, None in this process."""
        while self.stages or self.listening.fileno() != -1:
            ready = self.selector.select(None if self.stages else IDLE)
            if not ready:
                self._close()
            for key, _ in ready:
                if key.data is not None:
                    self._ended(key.data)
                elif job := self._take():
                    return job
        return None

    def _close(self) -> None:
        """Take no more commands. Another warm process may listen from now on."""
        self.place.unlink(missing_ok=True)
        self.selector.unregister(self.listening)
        self.listening.close()
        os.close(self.turn)

    def _take(self) -> Job | None:
        """Fork a stage for a command. Returns the job in the fork. If something has changed, the command goes away."""
        line, _ = self.listening.accept()
        line.settimeout(SECONDS)
        try:
            _, files, _, _ = socket.recv_fds(line, 100, 4)
        except OSError:
            files = []
        if len(files) != 4:  # a command that was killed
            line.close()
            return None
        line.settimeout(None)
        as_it_was = self._is_as_it_was()
        job = self._fork(line, files) if as_it_was else None
        for file in files[3:] if job else files:
            os.close(file)
        if not as_it_was:
            line.close()
            self._close()
        return job

    def _fork(self, line: socket.socket, files: list[int]) -> Job | None:
        about, parent = json.loads(os.pread(files[3], LONGEST, 0)), os.getpid()
        pid = os.fork()
        if not pid:
            self._forget()
            return Job(about, files[:3], line, parent)
        end = os.pidfd_open(pid)
        self.stages[end] = (pid, line)
        self.selector.register(end, selectors.EVENT_READ, end)
        with suppress(OSError):  # the command may have been killed
            line.send(TAKEN)
            line.send(str(pid).encode())
        return None

    def _is_as_it_was(self) -> bool:
        """Whether a fork now is as good as a new process."""
        torch = sys.modules.get("torch")
        untouched = torch is None or not torch.cuda.is_initialized()
        return untouched and threading.active_count() == 1 and stamps() == self.files

    def _forget(self) -> None:
        """In a fork: close what is the warm process's."""
        self.selector.close()
        self.listening.close()
        os.close(self.turn)
        for end, (_, line) in self.stages.items():
            os.close(end)
            line.close()

    def _ended(self, end: int) -> None:
        pid, line = self.stages.pop(end)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.selector.unregister(end)
        os.close(end)
        with suppress(OSError):
            line.send(str(code).encode())
        line.close()


def main() -> None:
    place, package = Path(sys.argv[1]), sys.argv[2]
    turn = os.open(place.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # there is one already
        return
    gc.disable()
    imports(package)
    gc.freeze()  # so that forks share the memory of what was imported
    place.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(place))
        listening.listen()
        job = Server(place, listening, turn).serve()
    if job is not None:
        job.run()


if __name__ == "__main__":
    main()
