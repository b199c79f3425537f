"""Memory that is not there: one line, and the training goes on later from its checkpoint."""

import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
