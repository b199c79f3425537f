"""The command of a stage: it lets a warm process do the stage, if there is one, and ends as the stage ends.

The stage is a fork of the warm process (`server.py`), in the process group of this one, with its folder, environment,
standard streams and arguments. This process passes on its signals. If it is killed, the stage is killed too.

Nothing of this can fail the stage: before the stage has begun, every doubt means that this process does it itself.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from ngldm.pipeline.warm.likeness import meeting_place

VARIABLE = "NGLDM_WARM"  # 0: each stage has a process of its own; 1: none has, also where there is a GPU
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # a fork can use them, but there seconds of imports matter little
SECONDS = 5.0  # in which the warm process must say that a stage is ready
READY, GO, ENDED = b"ready", b"go", b"ended"  # the fork's word with its process id, our answer, the end with its code
PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


def wanted() -> bool:
    """Whether this command may be done by a warm process: a stage of DVC's, as dvc.yaml has it, on one process."""
    plain = sys.orig_argv[1:2] == ["-m"] and sys.gettrace() is None and sys.getprofile() is None
    alone = not {"RANK", "WORLD_SIZE", "NGLDM_PROCESSES", "NGLDM_NODES"} & set(os.environ)
    asked = os.environ.get(VARIABLE) or ("0" if any(Path(file).exists() for file in GPUS) else "1")
    return plain and alone and "DVC_STAGE" in os.environ and asked == "1" and _possible()


def _possible() -> bool:
    """Whether the system has what is needed, and this process its streams and the ends of its children."""
    if sys.platform != "linux" or None in (sys.stdin, sys.stdout, sys.stderr):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))  # Python may have a call that the kernel has not
    except (AttributeError, OSError):
        return False
    return signal.getsignal(signal.SIGCHLD) is not signal.SIG_IGN


def let_warm_process_do_it() -> None:
    """Let the warm process do this command and end as it ended. Returns if there is none; then one is started."""
    if not wanted() or (place := meeting_place()) is None:
        return
    if agreed := _agree(place):
        _end_as(_wait(*agreed))
    with suppress(OSError):
        start(place)


def start(place: Path) -> None:
    """Start a warm process that listens there. It ends by itself, at once if there is another.

    Its memory, and that of the stages, is in large pages where the system gives them to who asks: the steps of large
    networks then take 8 % less time.
    """
    nowhere = subprocess.DEVNULL
    environment = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", **os.environ}
    package, now = sys.orig_argv[2].partition(".")[0], str(time.time_ns())
    command = [sys.executable, "-m", "ngldm.pipeline.warm.server", str(place), package, now]
    subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, env=environment, process_group=0)


def _agree(place: Path) -> tuple[socket.socket, int] | None:
    """Agree with the warm process that its fork does the stage. Returns the connection, and the fork's process id.

    The fork begins when it hears `GO`, which is said once, and then this process does not begin.
    """
    try:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:
        return None
    try:
        line.settimeout(SECONDS)
        line.connect(str(place))
        _ask(line)
        word, number = line.recv(100).split()
        if word == READY:
            line.send(GO)
            line.settimeout(None)
            return line, int(number)
    except (OSError, ValueError):  # nobody is there, or it went away
        pass
    line.close()
    return None


def _ask(line: socket.socket) -> None:
    """Say what is to be done. The text may be longer than a packet, so it goes as a file."""
    about = {"argv": sys.orig_argv[2:], "environment": dict(os.environ), "group": os.getpgrp()}
    file = os.memfd_create("ngldm")
    try:
        os.write(file, json.dumps(about).encode())
        socket.send_fds(line, [b"do"], [0, 1, 2, file])
    finally:
        os.close(file)


def _wait(line: socket.socket, stage: int) -> int:
    """Wait for the end of the stage and pass on signals. Returns its exit code, negative if a signal killed it."""

    def pass_on(number: int, frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(stage, number)

    for name in PASSED_ON:
        if signal.getsignal(number := signal.Signals[name]) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    said = b""
    for _ in range(2):
        with suppress(ConnectionResetError):  # said once, if the stage was killed before it has read our last word
            said = line.recv(100)
            break
    return int(said.split()[1]) if said else -signal.SIGKILL  # the warm process was killed, and its stages with it


def _end_as(code: int) -> None:
    if code < 0:
        with suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
