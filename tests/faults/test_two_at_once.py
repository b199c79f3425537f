"""Two processes with the same training at once: by hand, in a copy of DVC's (`--temp`), or in its queue."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngldm.io.files import sha256_file
from ngldm.pipeline import workspace as paths
from stages.train import train

MODEL, SNAPSHOTS = paths.model("laplace"), paths.snapshots("laplace")


def files(root: Path) -> dict[str, str]:
    found = [root / MODEL, *(root / SNAPSHOTS).iterdir()]
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in found}


@pytest.mark.parametrize("killed", [True, False])
def test_the_second_waits_and_both_have_all_results(
    workspace: Path, fork: Callable[..., Any], at_step: Callable[..., Any], killed: bool
) -> None:
    """If the first is killed, the second goes on from its checkpoint."""
    copy = workspace / ".dvc/tmp/exps/standalone/temporary"
    for name in ("conf", "data", "models"):
        shutil.copytree(name, copy / name)
    shutil.copy("params.yaml", copy)
    goes_on = workspace / "goes on"

    def here() -> None:
        print("here", flush=True)
        while not goes_on.exists():
            time.sleep(0.02)

    first = fork(at_step(15, here))
    first.said("here")
    os.chdir(copy)
    second = fork(lambda: train("laplace", "cpu"))
    second.said(f"train laplace: waits for process {first.pid} on ")
    second.said(str(workspace / "checkpoints/laplace-"))
    if killed:
        os.kill(first.pid, signal.SIGKILL)
    else:
        goes_on.touch()
    ended = second.end()
    assert ended.returncode == 0, ended.stderr
    assert ("continues from the checkpoint of step 10" in ended.stdout) is killed
    assert first.end().returncode == (-signal.SIGKILL if killed else 0)
    expected = files(workspace / "expected")
    assert files(copy) == expected
    assert killed or files(workspace) == expected
    assert list((workspace / "checkpoints").iterdir()) == []
