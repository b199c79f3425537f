"""Which commands a warm process may do. What becomes of them is in test_server.py."""

import os
import sys

import pytest

from ngldm.pipeline.warm import client
from ngldm.pipeline.warm.client import wanted


@pytest.fixture(autouse=True)
def as_dvc_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "stages.train", "--noise", "laplace"])
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.setattr(sys, "getprofile", lambda: None)
    for variable in ("RANK", "WORLD_SIZE", "NGLDM_PROCESSES", "NGLDM_NODES", "NGLDM_WARM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DVC_STAGE", "train@laplace")
    monkeypatch.setattr(client, "GPUS", ())


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="a warm process needs Linux")
def test_a_stage_of_dvc_is_done_by_a_warm_process() -> None:
    assert wanted()


@pytest.mark.parametrize(
    "line",
    [["python", "-u", "-m", "stages.train"], ["python", "stages/train.py"], ["python", "-c", ""], ["python"]],
)
def test_an_interpreter_with_other_options_is_not(monkeypatch: pytest.MonkeyPatch, line: list[str]) -> None:
    monkeypatch.setattr(sys, "orig_argv", line)
    assert not wanted()


def test_with_a_gpu_it_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GPUS", ("/dev/null",))
    assert not wanted()
    monkeypatch.setenv("NGLDM_WARM", "1")
    assert wanted()


@pytest.mark.parametrize("hook", ["gettrace", "getprofile"])
def test_a_debugger_or_profiler_sees_the_stage_itself(monkeypatch: pytest.MonkeyPatch, hook: str) -> None:
    monkeypatch.setattr(sys, hook, lambda: print)
    assert not wanted()
