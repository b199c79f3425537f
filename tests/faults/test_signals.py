"""Signals: a training that is told to stop ends well, one that is killed is cleaned up by the next."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest

from ngldm.io.files import read_json, sha256_file
from ngldm.pipeline import workspace as paths
from ngldm.training.checkpoints.checkpointer import Checkpointer
from stages.train import train

ROOT = Path(__file__).parents[2]
MODEL = paths.model("laplace")
LINE = "stopped by {}; the last checkpoint, if any, is kept\n"
Forked = Callable[..., subprocess.CompletedProcess[str]]


def send(name: int) -> None:
    os.kill(os.getpid(), name)


def statuses() -> list[str]:
    """Of the MLflow runs named laplace, the first one first; one of them is of the workspace's own past."""
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    runs = client.search_runs(
        [e.experiment_id for e in client.search_experiments()],
        "attributes.run_name = 'laplace'",
        order_by=["attributes.start_time ASC"],
    )
    return [run.info.status for run in runs][1:]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_training_that_is_told_to_stop_ends_well_and_goes_on_later(
    workspace: Path, forked: Forked, at_step: Callable[..., Any], name: str
) -> None:
    number = signal.Signals[name]
    ended = forked(at_step(15, lambda: send(number)))
    assert (ended.returncode, ended.stderr) == (128 + number, LINE.format(name))
    assert read_json(next(Path("checkpoints").glob("*/last.json")))["step"] == 10
    assert statuses() == ["KILLED"]
    train("laplace", "cpu")
    assert sha256_file(MODEL) == sha256_file("expected" / MODEL)
    assert statuses() == ["KILLED", "FINISHED"]


def test_a_signal_that_comes_again_and_again_lets_the_training_end_well(
    workspace: Path, forked: Forked, at_step: Callable[..., Any]
) -> None:
    """As from Slurm, torch's launcher and a shell at once."""

    def harass() -> None:
        code = f"kill -TERM {os.getpid()}; sleep 0.02;" * 20
        subprocess.Popen(["sh", "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL).wait()

    ended = forked(at_step(15, harass))
    assert (ended.returncode, ended.stderr) == (143, LINE.format("SIGTERM"))
    assert statuses() == ["KILLED"]


def test_sigusr1_saves_a_checkpoint_at_once(workspace: Path, forked: Forked, at_step: Callable[..., Any]) -> None:
    save = Checkpointer.save

    def save_and_die(self: Checkpointer, *args: Any) -> None:
        save(self, *args)
        send(signal.SIGKILL)

    def act() -> None:
        Checkpointer.save = save_and_die  # type: ignore[method-assign]
        send(signal.SIGUSR1)

    ended = forked(at_step(14, act))
    assert ended.returncode == -signal.SIGKILL
    assert read_json(next(Path("checkpoints").glob("*/last.json")))["step"] == 14
    train("laplace", "cpu")
    assert sha256_file(MODEL) == sha256_file("expected" / MODEL)


def test_a_run_that_a_kill_left_running_is_closed_by_the_next_training(
    workspace: Path, forked: Forked, at_step: Callable[..., Any]
) -> None:
    assert forked(at_step(15, lambda: send(signal.SIGKILL))).returncode == -signal.SIGKILL
    assert statuses() == ["RUNNING"]
    train("laplace", "cpu")
    assert statuses() == ["KILLED", "FINISHED"]
    assert sha256_file(MODEL) == sha256_file("expected" / MODEL)


def started(*command: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *command], env=environment, **pipes)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_during_the_imports(workspace: Path, name: str) -> None:
    process = started("-m", "stages.train", "--noise", "none")
    maps = Path(f"/proc/{process.pid}/maps")
    while "libtorch" not in maps.read_text():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.Signals[name])
    _, err = process.communicate(timeout=60)
    if name == "SIGUSR1":
        assert process.returncode == 2, err
        assert err.startswith("error: unknown noise 'none'")
    else:
        assert (process.returncode, err) == (128 + signal.Signals[name], LINE.format(name))


TOGETHER = """
import os, signal, sys, time
from stages.train import main, train
from ngldm.io import processes
from ngldm.training.ema import EMA
update = EMA.update
def slow(self, model):
    update(self, model)
    if self.updates == 13:
        print("here", flush=True)
    time.sleep(0.0 if self.updates < 13 else 0.2)
EMA.update = slow
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["ngldm", "torchrun"])
def test_two_processes_that_are_told_to_stop_end_well(workspace: Path, launcher: str) -> None:
    Path("slow.py").write_text(TOGETHER)
    call = ["slow.py", "--noise", "laplace", "--device", "cpu"]
    if launcher == "torchrun":
        call = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *call]
    process = started(*call, NGLDM_PROCESSES="2", OMP_NUM_THREADS="1")
    assert process.stdout is not None
    while "here" not in (line := process.stdout.readline()):
        assert line, process.communicate()[1]
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=180)
    assert not any(child.is_running() for child in children)
    assert [line for line in err.splitlines() if line.startswith("stopped by")] == [LINE.format("SIGTERM").strip()]
    if launcher == "ngldm":
        assert (process.returncode, err) == (143, LINE.format("SIGTERM"))
    assert statuses() == ["KILLED"]
    assert read_json(next(Path("checkpoints").glob("*/last.json")))["step"] == 10
