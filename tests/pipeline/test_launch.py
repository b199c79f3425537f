"""How a command becomes several processes, what they check of each other, and how all of them end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.pipeline.launch import launch, on_many, wanted_processes

ROOT = Path(__file__).parents[2]
REPORTS = """
import errno, os, sys, time
from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.pipeline.terminal import Device, command

def work(what: str = "well", device: Device = "cpu") -> None:
    print(f"{what} {processes.size()}", flush=True)
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


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command of `REPORTS` with options and variables."""
    (tmp_path / "work.py").write_text(REPORTS)

    def run(*options: str, **variables: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NGLDM_TIMEOUT": "60", **variables}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "work.py", *options], cwd=tmp_path, env=environment, **pipes)

    return run


def test_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NGLDM_PROCESSES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [wanted_processes(device) for device in ("auto", "cuda", "cuda:1", "cpu", "mps")] == [4, 4, 1, 1, 1]
    monkeypatch.setenv("NGLDM_PROCESSES", "3")
    assert [wanted_processes(device) for device in ("auto", "cpu")] == [3, 3]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert wanted_processes("auto") == 3


@pytest.mark.parametrize(
    ("text", "device", "message"),
    [
        ("many", "cpu", "NGLDM_PROCESSES: 'many' must be a whole number, at least 1 and at most 64"),
        ("9" * 5000, "cpu", f"NGLDM_PROCESSES: '{'9' * 40}' must be a whole number, at least 1 and at most 64"),
        ("٢", "cpu", "NGLDM_PROCESSES: '٢' must be a whole number, at least 1 and at most 64"),
        ("0", "cpu", "NGLDM_PROCESSES: '0' must be a whole number, at least 1 and at most 64"),
        ("100000", "cpu", "NGLDM_PROCESSES: '100000' must be a whole number, at least 1 and at most 64"),
        ("2", "cuda:1", "NGLDM_PROCESSES: 2, but the device 'cuda:1' is a single one; use auto, cuda or cpu"),
        ("3", "auto", "NGLDM_PROCESSES: 3, but this machine shows 2 GPUs; each process needs its own"),
    ],
)
def test_a_wrong_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, device: str, message: str) -> None:
    monkeypatch.setenv("NGLDM_PROCESSES", text)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError) as refused:
        wanted_processes(device)
    assert str(refused.value) == message


def test_bad_input_is_said_once_and_not_tried_again(start: Callable[..., Any]) -> None:
    out, err = (process := start("--what", "refuse", NGLDM_PROCESSES="2")).communicate(timeout=120)
    assert (process.returncode, out) == (2, "refuse 2\n")
    assert err.splitlines() == ["error: the table is empty"]


def test_a_fault_of_one_process_ends_all_of_them(start: Callable[..., Any]) -> None:
    out, err = (process := start("--what", "one", NGLDM_PROCESSES="2")).communicate(timeout=120)
    assert (process.returncode, out) == (2, "one 2\n")
    assert err.splitlines() == [f"error: no such disk (process 1 on {socket.gethostname()})"]


def test_without_a_place_for_the_exit_code_it_is_that_of_a_disks_fault(start: Callable[..., Any]) -> None:
    _, err = (process := start("--what", "away", NGLDM_PROCESSES="2")).communicate(timeout=150)
    assert (process.returncode, err) == (1, "error: the table is empty\n")


def test_a_full_disk_ends_all_of_them_at_once(start: Callable[..., Any]) -> None:
    process = start("--what", "full", NGLDM_PROCESSES="2")
    out, err = process.communicate(timeout=150)
    assert process.returncode == 1, err
    (line,) = (line for line in err.splitlines() if line.startswith("error:"))  # torch may warn of a lost process
    assert line.startswith("error: a.npy: the disk is full")
    assert "are started again" not in out


def test_the_processes_end_with_the_command(start: Callable[..., Any]) -> None:
    process = start("--what", "sleep", NGLDM_PROCESSES="2")
    assert process.stdout.readline() == "sleep 2\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    process.send_signal(signal.SIGUSR1)  # is passed on, and ends nothing
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert err == "stopped by SIGTERM; the last checkpoint, if any, is kept\n"
    assert not any(child.is_running() for child in children)


def test_the_processes_end_when_the_command_is_killed(start: Callable[..., Any]) -> None:
    process = start("--what", "sleep", NGLDM_PROCESSES="2")
    process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    gone, alive = psutil.wait_procs(children, timeout=20)
    process.communicate()
    assert (len(gone), alive) == (2, [])


def test_a_machine_that_does_not_come_ends_the_wait(start: Callable[..., Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    begin = time.monotonic()
    process = start(NGLDM_NODES="2", NGLDM_RENDEZVOUS=place, NGLDM_TIMEOUT="3")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = err.splitlines()
    assert line.startswith(
        f"error: NGLDM_RENDEZVOUS: 2 machines (NGLDM_NODES) must meet at {place}, but did not within 3 s"
    )
    assert time.monotonic() - begin < 60.0


def test_machines_need_a_place_to_meet(start: Callable[..., Any]) -> None:
    _, err = (process := start(NGLDM_NODES="2")).communicate(timeout=60)
    assert process.returncode == 2
    assert "error: NGLDM_RENDEZVOUS: ''; 2 machines (NGLDM_NODES) need host:port of one of them" in err


@pytest.mark.parametrize("place", ["nocolon", "localhost:abc", ":", ":29500", "a b:29500", "localhost:65536", "host:0"])
def test_a_place_that_is_no_host_and_port_is_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("NGLDM_RENDEZVOUS", place)
    with pytest.raises(InputError) as refused:
        launch(1, 2)
    assert str(refused.value) == f"NGLDM_RENDEZVOUS: {place!r} must be host:port, with a port from 1 to 65535"


def test_the_wait_for_a_host_that_does_not_exist_ends_too(start: Callable[..., Any]) -> None:
    place = "no.such.host.invalid:29500"
    begin = time.monotonic()
    process = start(NGLDM_NODES="2", NGLDM_RENDEZVOUS=place, NGLDM_TIMEOUT="3")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = err.splitlines()  # torch would print its stack
    assert line.startswith(
        f"error: NGLDM_RENDEZVOUS: 2 machines (NGLDM_NODES) must meet at {place}, but did not within"
    )
    assert time.monotonic() - begin < 45.0  # torch's own time-out is 60 s


@pytest.mark.parametrize(
    ("variable", "text", "most"),
    [("NGLDM_TIMEOUT", "1000000000000", 604800), ("NGLDM_RESTARTS", "9" * 20, 1000), ("NGLDM_NODES", "10001", 10000)],
)
def test_numbers_have_a_bound(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, most: int) -> None:
    monkeypatch.setenv("NGLDM_PROCESSES", "2")
    monkeypatch.setenv(variable, text)
    with pytest.raises(
        InputError, match=f"^{variable}: '{text}' must be a whole number, at least . and at most {most}$"
    ):
        on_many(lambda device: pytest.fail("the work began"))(device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: 'two' must be a whole number, at least 1 and at most 1000000"),
        ({"WORLD_SIZE": "9" * 20}, f"WORLD_SIZE: '{'9' * 20}' must be a whole number, at least 1 and at most 1000000"),
        ({"RANK": "first"}, "RANK: 'first' must be a whole number, at least 0 and at most 1"),
        ({"RANK": "2"}, "RANK: '2' must be a whole number, at least 0 and at most 1"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK: 'x' must be a whole number, at least 0 and at most 1000000"),
        ({"LOCAL_RANK": "9" * 20}, f"LOCAL_RANK: '{'9' * 20}' must be a whole number, at least 0 and at most 1000000"),
        ({"NGLDM_TIMEOUT": "0"}, "NGLDM_TIMEOUT: '0' must be a whole number, at least 1 and at most 604800"),
        (
            {"NGLDM_TIMEOUT": "9" * 20},
            f"NGLDM_TIMEOUT: '{'9' * 20}' must be a whole number, at least 1 and at most 604800",
        ),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR: missing; WORLD_SIZE and RANK need it, torchrun sets all of them"),
        ({"MASTER_PORT": ""}, "MASTER_PORT: missing; WORLD_SIZE and RANK need it, torchrun sets all of them"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT: 'x' must be a whole number, at least 1 and at most 65535"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT: '65536' must be a whole number, at least 1 and at most 65535"),
    ],
)
def test_variables_that_torchrun_would_not_set_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    joined = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in {**joined, **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((InputError, SystemExit)) as refused:
        on_many(lambda device: pytest.fail("the work began"))(device="cpu")
    if refused.type is InputError:  # of one process that is not known to be one of several
        assert str(refused.value) == message
    else:
        assert (refused.value.code, capsys.readouterr().err) == (2, f"error: {message}\n")


def test_processes_with_other_parameters_are_refused_by_name(
    tmp_path: Path, together: Callable[..., list[subprocess.CompletedProcess[str]]]
) -> None:
    for rank, lr in enumerate((0.1, 0.2)):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "params.yaml").write_text(f"train: {{lr: {lr}, batch_size: 4}}\n")
    main, other = together(REPORTS)
    host = socket.gethostname()
    message = f"error: process 1 on {host} differs from process 0 on {host} in: params.train.lr; all must have the same"
    assert (main.returncode, other.returncode) == (2, 2)
    assert message in main.stderr.splitlines()
    assert "error" not in other.stderr
    assert main.stdout == ""


def test_a_main_process_that_is_nowhere_is_named(start: Callable[..., Any]) -> None:
    place = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "no.such.host.invalid", "MASTER_PORT": "29500"}
    _, err = (process := start(NGLDM_TIMEOUT="2", **place)).communicate(timeout=120)
    assert process.returncode == 2
    (line,) = err.splitlines()
    assert line.startswith(
        "error: WORLD_SIZE: 2 processes must meet at no.such.host.invalid:29500, but not all of them"
    )


def test_the_report_of_torchrun_ends_with_the_fault(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """It prints a traceback of its own below our line, and there what its processes have written to a file."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    file = tmp_path / "error.json"
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "", "MASTER_PORT": "29500"}
    _, err = (process := start(TORCHELASTIC_ERROR_FILE=str(file), **place)).communicate(timeout=120)
    (line,) = err.splitlines()
    assert line.startswith("error: MASTER_ADDR: missing")
    report = str(ChildFailedError("work.py", {0: ProcessFailure(0, process.pid, process.returncode, str(file))}))
    assert report.strip("=\n ").endswith(f"InputError: {line.removeprefix('error: ')}")


def test_under_torchrun_a_command_joins_what_it_finds(
    together: Callable[..., list[subprocess.CompletedProcess[str]]],
) -> None:
    main, other = together(REPORTS, NGLDM_PROCESSES="7")  # not looked at
    assert (main.returncode, main.stdout) == (0, "well 2\n"), main.stderr
    assert (other.returncode, other.stdout) == (0, "")
