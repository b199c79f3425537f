"""Kills of a training on two processes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.campaign.pipeline import ROOT, before, faults, found
from tests.faults.child import Ended

KIND = "one of two processes, their launcher, or all"
# Name: rank, moment (`rank.py`), restarts by the launcher.
CASES = {
    "rank 0 in the middle of step 13": ("0", "in the middle of step 13", 3),
    "rank 1 in the middle of step 13": ("1", "in the middle of step 13", 3),
    "rank 1 in the middle of the last step": ("1", "in the middle of the last step", 3),
    "rank 0 before fsync of the second checkpoint": ("0", "before fsync of the second checkpoint", 3),
    "rank 0 before the new checkpoint becomes the last": ("0", "before the new checkpoint becomes the last", 3),
    "rank 0 after the model gets its name": ("0", "after the model gets its name", 3),
    "rank 1 in the middle of step 13, no restarts": ("1", "in the middle of step 13", 0),
    "the launcher": ("-1", "no moment", 3),
    "all, at any time": ("-1", "no moment", 3),
}
WAIT = 1500.0  # seconds; the machine may be busy with other things


def _start(folder: Path, rank: str, moment: str, restarts: int) -> subprocess.Popen[str]:
    known = {"PYTHONPATH": str(ROOT), "NGLDM_PROCESSES": "2", "NGLDM_RESTARTS": str(restarts), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "tests.faults.campaign.rank", "--noise", "laplace", "--device", "cpu"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    environment = {**os.environ, **known, "NGLDM_KILL": f"{rank} {moment}"}
    return subprocess.Popen(call, cwd=folder, env=environment, **pipes)


def _end(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=WAIT)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def undisturbed(complete: Path, folder: Path) -> dict[str, str]:
    """The files after a training on two processes; its weights differ from those of one in their last bits."""
    ended = _end(_start(before("train", complete, folder), "-1", "no moment", 0))
    assert ended.returncode == 0, ended.stderr
    return found(folder)


def case(name: str, complete: Path, folder: Path, expected: dict[str, str], seed: int) -> list[str]:
    """What is wrong in the end: after the launcher's own restart, or after a second call of the command."""
    rank, moment, restarts = CASES[name]
    process = _start(before("train", complete, folder), rank, moment, restarts)
    if rank != "-1":
        ended = _end(process)
        if restarts and "are started again" not in ended.stdout:
            return [f"nothing was started again: {ended.stderr}"]
        if restarts:
            return faults(folder, expected, ended)
        if ended.returncode != 1 or ended.stderr.count("\n") != 1:
            return [f"exit code {ended.returncode}, not one line: {ended.stderr}"]
    else:
        while not list(folder.glob("checkpoints/laplace-*/last.safetensors")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        time.sleep(random.Random(seed).uniform(0.0, 1.0))
        (os.kill if name == "the launcher" else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()  # the others may still write to its pipes
    return faults(folder, expected, _end(_start(folder, "-1", "no moment", 3)))
