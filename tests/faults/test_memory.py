"""Memory that is not there: one line, and the training goes on later from its checkpoint."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from ngldm.io.files import sha256_file
from ngldm.pipeline import workspace as paths
from stages.train import train

MODEL = paths.model("laplace")


def test_a_limit_of_memory_ends_a_training_with_one_line_and_loses_at_most_an_interval(
    workspace: Path, forked: Callable[..., subprocess.CompletedProcess[str]], at_step: Callable[..., Any]
) -> None:
    def starve() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
        torch.empty(2**28)  # 1 GiB

    ended = forked(at_step(15, starve))
    line = "error: not enough memory for train laplace: it asked for 1.0 GiB more; "
    assert (ended.returncode, ended.stderr) == (
        2,
        f"{line}lower train.batch_size, or raise train.accumulate_steps\n",
    )
    train("laplace", "cpu")
    assert sha256_file(MODEL) == sha256_file("expected" / MODEL)


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group below that of the tests, with 64 MiB of memory."""
    lines = Path("/proc/self/cgroup").read_text().splitlines() if Path("/proc/self/cgroup").exists() else []
    own = {names: place for _, names, place in (line.split(":", 2) for line in lines)}
    root, limit = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
    if "memory" not in own:  # version 2
        root, limit = "/sys/fs/cgroup", "memory.max"
    group = Path(f"{root}{own.get('memory', own.get('', '/'))}", f"ngldm-{os.getpid()}")
    with suppress(OSError):
        group.mkdir()
    try:
        if not (group / limit).exists():
            pytest.skip("no control group with a limit of memory may be made here")
        (group / limit).write_text(str(2**26))
        yield group
    finally:
        with suppress(OSError):
            group.rmdir()


def test_the_out_of_memory_killer_loses_at_most_an_interval(
    workspace: Path,
    forked: Callable[..., subprocess.CompletedProcess[str]],
    at_step: Callable[..., Any],
    memory_group: Path,
) -> None:
    def starve() -> None:
        (memory_group / "cgroup.procs").write_text(str(os.getpid()))
        torch.ones(2**28)  # 1 GiB

    ended = forked(at_step(15, starve))
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    again = forked(lambda: train("laplace", "cpu"))
    assert "continues from the checkpoint of step 10" in again.stdout
    assert sha256_file(MODEL) == sha256_file("expected" / MODEL)
