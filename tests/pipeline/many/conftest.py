"""A command that starts itself on several processes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REPORTS = """
import atexit, errno, os, sys, time
from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.pipeline.terminal import Device, command

def work(what: str = "well", device: Device = "cpu") -> None:
    print(f"{what} {processes.size()}", flush=True)
    if what == "one":
        atexit.register(lambda: print("ended with torch's clean-up", file=sys.stderr, flush=True))
    if what == "refuse":
        raise InputError("the table is empty")
    if what == "away":
        os.environ["NGLDM_ENDING"] = "no such folder/exit-code"
        raise InputError("the table is empty")
    if what == "one" and processes.rank() == 1:
        raise InputError("no such disk")
    if what == "full" and processes.rank() == 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.npy")
    if what in ("sleep", "one", "full"):
        time.sleep(60.0)

command(work, many=True)()
"""


@pytest.fixture(scope="session")
def reports() -> str:
    """The text of the command."""
    return REPORTS


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command of `REPORTS` with options and variables."""
    (tmp_path / "work.py").write_text(REPORTS)

    def run(*options: str, **variables: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NGLDM_TIMEOUT": "60", **variables}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "work.py", *options], cwd=tmp_path, env=environment, **pipes)

    return run
