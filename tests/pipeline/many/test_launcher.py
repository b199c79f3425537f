"""How a command becomes several processes, and how all of them end."""

import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.pipeline.many.launcher import launch, wanted_processes


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
