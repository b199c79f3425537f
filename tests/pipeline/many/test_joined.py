"""What one of several processes checks, and how it ends with the others."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.many.launcher import on_many


def test_bad_input_is_said_once_and_not_tried_again(start: Callable[..., Any]) -> None:
    out, err = (process := start("--what", "refuse", NGLDM_PROCESSES="2")).communicate(timeout=120)
    assert (process.returncode, out) == (2, "refuse 2\n")
    assert err.splitlines() == ["error: the table is empty"]


def test_a_fault_of_one_process_ends_all_of_them(start: Callable[..., Any]) -> None:
    out, err = (process := start("--what", "one", NGLDM_PROCESSES="2")).communicate(timeout=120)
    assert (process.returncode, out) == (2, "one 2\n")
    assert err.splitlines() == [f"error: no such disk (process 1 on {socket.gethostname()})"]


def test_a_process_that_is_stopped_while_it_tells_a_fault_has_no_clean_up_either(start: Callable[..., Any]) -> None:
    """torch's clean-up may abort the process, which prints a line of C++."""
    process = start("--what", "one", NGLDM_PROCESSES="2")
    assert process.stdout.readline() == "one 2\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (143, "stopped by SIGTERM; the last checkpoint, if any, is kept\n")


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
    tmp_path: Path, together: Callable[..., list[subprocess.CompletedProcess[str]]], reports: str
) -> None:
    for rank, lr in enumerate((0.1, 0.2)):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "params.yaml").write_text(f"train: {{lr: {lr}, batch_size: 4}}\n")
    main, other = together(reports)
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
    together: Callable[..., list[subprocess.CompletedProcess[str]]], reports: str
) -> None:
    main, other = together(reports, NGLDM_PROCESSES="7")  # not looked at
    assert (main.returncode, main.stdout) == (0, "well 2\n"), main.stderr
    assert (other.returncode, other.stdout) == (0, "")
