"""What a process passes on to the processes that it starts. A fork serves a stage only if all of this is the same."""

import hashlib
import json
import os
import stat
import sys
import tempfile
from pathlib import Path

OTHERWISE = {"PWD", "OLDPWD", "SHLVL", "_"}  # variables that shells change, and no import reads; nor those of DVC
LONGEST = 107  # bytes of a socket's path on Linux
LIMITS = ("Uid", "Gid", "Groups", "Umask", "SigBlk", "SigIgn", "CapEff", "NoNewPrivs", "Seccomp", "Cpus_allowed")


def likeness() -> str:
    """A hash of all that a child has from the process that starts it: the same for processes that are alike.

    Interpreter, path of modules, folder, environment, user, rights, limits, control group, priority, session.

    Raises:
        OSError: the system does not tell all of it.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    for key in OTHERWISE:
        environment.pop(key, None)
    status = [line for line in _read("status").splitlines() if line.split(":")[0] in LIMITS]
    spaces = sorted(str(file.readlink()) for file in Path("/proc/self/ns").iterdir())
    process = (_read("cgroup"), _read("limits"), _read("oom_score_adj"), _read("autogroup"), status, spaces)
    folder = Path.cwd()  # another one may have come to its path
    here = (str(folder), folder.stat().st_ino, os.getsid(0), os.nice(0), os.sched_getscheduler(0))
    python = (sys.executable, sys.version, sys.path, list(sys.flags), sys.warnoptions)
    text = json.dumps([environment, process, here, python], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(name: str) -> str:
    try:
        return Path("/proc/self", name).read_text(errors="surrogateescape")
    except OSError:  # not every kernel has all of them
        return ""


def meeting_place() -> Path | None:
    """The path of the socket at which processes like this one meet their warm process.

    It lies in a folder that nobody else can write to. None if there is no such folder, or its path is too long, or the
    system does not tell how processes are.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"ngldm-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        about, place = folder.lstat(), folder / f"{likeness()[:24]}.socket"
    except OSError:  # a full disk has no temporary folder either
        return None
    mine = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077
    return place if mine and len(os.fsencode(place)) <= LONGEST else None
