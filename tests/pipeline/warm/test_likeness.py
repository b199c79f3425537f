"""Processes are alike if a child of one would be as a child of the other."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ngldm.pipeline.warm.likeness import likeness, meeting_place

ROOT = Path(__file__).parents[3]
TELL = "from ngldm.pipeline.warm.likeness import likeness; print(likeness())"


def told(change: str = "pass", *options: str, folder: Path = ROOT, **variables: str) -> str:
    """The likeness of a process that first does something to itself."""
    code = f"import os, resource, signal; {change}; {TELL}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_processes_are_alike_but_for_what_differs(tmp_path: Path) -> None:
    own = told()
    assert told() == own
    assert told(DVC_STAGE="train@laplace", OLDPWD="/", SHLVL="7") == own
    assert told(LC_ALL="C") != own
    assert told(folder=tmp_path) != own
    assert told("pass", "-O") != own
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert told(f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft - 1}, {hard}))") != own
    assert told("os.umask(0o7)") != told("os.umask(0o77)")
    assert told("os.nice(1)") != own
    assert told("os.setsid()") != own
    assert told("signal.signal(signal.SIGHUP, signal.SIG_IGN)") != own
    if len(os.sched_getaffinity(0)) > 1:
        assert told(f"os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})") != own


def test_a_path_that_is_too_long_for_a_socket_is_no_meeting_place(
    sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = sockets / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    assert meeting_place() is None


def test_another_folder_at_the_same_path_is_not_alike(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    own = told(folder=tmp_path / "work")
    (tmp_path / "work").rename(tmp_path / "moved")
    (tmp_path / "work").mkdir()
    assert told(folder=tmp_path / "work") != own


def refuse(*arguments: object) -> None:
    raise OSError("not here")


@pytest.mark.parametrize("call", ["os.sched_getscheduler", "os.getsid", "tempfile.gettempdir"])
def test_a_system_that_does_not_tell_has_no_meeting_place(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """As with a full disk, where there is no temporary folder, or with another C library. The stage must not fail."""
    assert meeting_place() is not None
    monkeypatch.setattr(call, refuse)
    assert meeting_place() is None


def test_nobody_else_can_write_to_the_folder(sockets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(sockets))
    place = meeting_place()
    assert place is not None
    assert place.name.startswith(likeness()[:24])
    assert place.parent.stat().st_mode & 0o777 == 0o700
    place.parent.chmod(0o770)
    assert meeting_place() is None
    place.parent.rmdir()
    place.parent.symlink_to(sockets)
    assert meeting_place() is None
