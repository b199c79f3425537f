"""The warm process: it has imported what the stages import, and forks one for each command that asks for it.

python -m ngldm.pipeline.warm.server <socket> <package of the stages> <time at which this process was started, in ns>

It computes nothing itself. So it has no thread of Python's or torch's, which a fork would lose, and has touched no GPU.
OpenBLAS and jemalloc start threads when they are imported; both stop or renew them at a fork.

It forks only while every file that it has imported is as it was. It ends when it has had nothing to do for `IDLE`
seconds, or when a file has changed. Its stages end with it.
"""

import fcntl
import gc
import importlib
import os
import pkgutil
import select
import signal
import site
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ngldm.pipeline.warm.client import ENDED, SECONDS
from ngldm.pipeline.warm.job import Job

IDLE = 20.0  # seconds; DVC takes a few between two stages


def stamps() -> dict[str, tuple[int, ...]]:
    """When each imported file, and the folders of installed packages, were changed, and their sizes."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {file: _stamp(file) for file in (*files, *site.getsitepackages()) if file}


def _stamp(file: str) -> tuple[int, ...]:
    try:
        about = Path(file).stat()
    except OSError:
        return ()
    return (about.st_ctime_ns, about.st_size, about.st_ino)


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
        files: `stamps()` of what was imported.
        set_by_imports: the environment's variables that imports have set.
    """

    def __init__(
        self,
        place: Path,
        listening: socket.socket,
        turn: int,
        files: dict[str, tuple[int, ...]],
        set_by_imports: Mapping[str, str],
    ) -> None:
        self.place, self.listening, self.turn = place, listening, turn
        self.files, self.set_by_imports = files, set_by_imports
        self.events = select.epoll()
        self.events.register(listening, select.EPOLLIN)
        self.stages: dict[int, tuple[int, socket.socket]] = {}  # by the file that becomes readable at its end

    def serve(self) -> Job | None:
        """Serve until there is nothing to do. Returns a job in the fork that is to do it, None in this process."""
        while self.stages or self.listening.fileno() != -1:
            ready = self.events.poll(None if self.stages else IDLE, 1)  # one at a time: it may close another one's file
            if not ready:
                self._close()
            for file, _ in ready:
                if file in self.stages:
                    self._ended(file)
                elif file != self.listening.fileno():
                    self._deserted(file)
                elif job := self._take():
                    return job
        return None

    def _close(self) -> None:
        """Take no more commands. Another warm process may listen from now on."""
        _unlink(self.place)
        self.events.unregister(self.listening)
        self.listening.close()
        os.close(self.turn)

    def _take(self) -> Job | None:
        """Fork a stage for a command. Returns the job in the fork. What cannot be done, the command does itself."""
        line, files, pid = *self._hear(), -1
        if len(files) == 4 and not self._is_as_it_was():
            self._close()
        elif line and len(files) == 4:
            with suppress(OSError):  # there may be too little memory, or too many processes
                parent, pid = os.getpid(), os.fork()
            if pid == 0:
                self._forget()
                return Job(files, line, parent, self.set_by_imports)
        for file in files:
            os.close(file)
        if line and not (pid > 0 and self._follow(pid, line)):
            line.close()
        return None

    def _hear(self) -> tuple[socket.socket | None, list[int]]:
        """The connection of the next command, and the files that it sends: fewer than 4 if something is wrong."""
        line, files = None, list[int]()
        try:
            line, _ = self.listening.accept()
            line.settimeout(SECONDS)
            _, files, _, _ = socket.recv_fds(line, 100, 4)
            line.settimeout(None)
        except OSError:  # a command that was killed
            if line is None:  # too many open files, which the next command would not change
                self._close()
        return line, files

    def _follow(self, pid: int, line: socket.socket) -> bool:
        """Hear when a fork ends, and when its command does. False if that cannot be: then the fork is killed."""
        try:
            end = os.pidfd_open(pid)
        except OSError:  # too many open files
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return False
        self.stages[end] = (pid, line)
        self.events.register(end, select.EPOLLIN)
        self.events.register(line, 0)  # only that the other side has gone
        return True

    def _is_as_it_was(self) -> bool:
        """Whether a fork now is as good as a new process."""
        torch = sys.modules.get("torch")
        untouched = torch is None or not torch.cuda.is_initialized()
        unchanged = all(_stamp(file) == stamp for file, stamp in self.files.items())
        return untouched and threading.active_count() == 1 and unchanged

    def _forget(self) -> None:
        """In a fork: close what is the warm process's."""
        self.events.close()
        self.listening.close()
        os.close(self.turn)
        for end, (_, line) in self.stages.items():
            os.close(end)
            line.close()

    def _deserted(self, file: int) -> None:
        """The command of a stage was killed: so is the stage."""
        self.events.unregister(file)
        for pid, line in self.stages.values():
            if line.fileno() == file:
                os.kill(pid, signal.SIGKILL)

    def _ended(self, end: int) -> None:
        pid, line = self.stages.pop(end)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.events.unregister(end)  # a fork may have it open too, for a moment
        os.close(end)
        with suppress(OSError):  # the command may have been killed
            self.events.unregister(line)
            line.send(b"%s %d" % (ENDED, code))
        line.close()


def _lock(place: Path) -> int | None:
    """An open file whose lock says that this process is the one that listens at a place. None if another one has it."""
    path = place.with_suffix(".lock")
    turn = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(turn).st_ino:  # else the one that had it has just removed it
            return turn
    except OSError:
        pass
    os.close(turn)
    return None


def _unlink(place: Path) -> None:
    for path in (place, place.with_suffix(".lock")):
        path.unlink(missing_ok=True)


def main() -> None:
    place, package, started = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if (turn := _lock(place)) is None:
        return
    gc.disable()
    before = dict(os.environ)
    imports(package)
    files = stamps()
    if any(stamp and stamp[0] >= started for stamp in files.values()):  # it was changed before or after its import
        _unlink(place)
        return
    set_by_imports = {key: value for key, value in os.environ.items() if before.get(key) != value}
    gc.freeze()  # so that forks share the memory of what was imported
    sys.stdout.flush()
    sys.stderr.flush()
    place.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(place))
        listening.listen()
        job = Server(place, listening, turn, files, set_by_imports).serve()
    if job is not None:
        job.run()


if __name__ == "__main__":
    main()
