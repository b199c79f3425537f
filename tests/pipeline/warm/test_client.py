"""Which commands a warm process may do. What becomes of them is in test_server.py."""

import errno
import os
import signal
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


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_closed_stream_cannot_be_handed_over(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its number would be that of another file of this process."""
    monkeypatch.setattr(sys, name, None)
    assert not wanted()


def test_a_command_that_hears_no_end_of_a_child_does_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm process would inherit that, and take each stage for killed."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert not wanted()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_kernel_without_the_call_has_no_warm_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    assert not wanted()


@pytest.mark.parametrize("value", ["0", "off", "no", "false"])
def test_any_other_word_turns_it_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NGLDM_WARM", value)
    assert not wanted()
