"""The warm process: kills, changed sources, other environments, two at once, too many files, and its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from ngldm.pipeline.warm.server import stamps
from tests.pipeline.warm.commands import ROOT, Commands, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a warm process needs Linux")


@pytest.mark.parametrize("who", ["command", "server"])
def test_a_kill_ends_command_and_stage(commands: Commands, who: str) -> None:
    commands.warm()
    process = commands.begin("stages.wait", "begun\n")
    (server,) = commands.servers()
    (stage,) = server.children()
    (process if who == "command" else server).kill()
    stage.wait(10)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL
    assert server.is_running() == (who == "command")


def test_changed_sources_are_never_old(commands: Commands) -> None:
    """Of what is imported, and of the stage itself."""
    commands.warm()
    assert commands.told()["helper"] == "first"
    (commands.folder / "helper.py").write_text("WORD = 'the second'\n")
    changed = commands.told()
    assert (changed["helper"], changed["forked"]) == ("the second", False)
    (commands.folder / "stages" / "end.py").write_text("raise SystemExit(7)\n")
    assert commands.call("stages.end", "0")[0] == 7


@pytest.mark.parametrize(
    "variables", [{"PYTHONHASHSEED": "1"}, {"OMP_NUM_THREADS": "7"}, {"CUDA_VISIBLE_DEVICES": "9"}]
)
def test_another_environment_has_another_warm_process(commands: Commands, variables: dict[str, str]) -> None:
    commands.warm()
    assert commands.told()["forked"]
    assert not commands.told(**variables)["forked"]


def test_other_limits_have_another_warm_process(commands: Commands) -> None:
    commands.warm()
    inside = f"cd {commands.folder} && ulimit -n 99 && exec {sys.executable} -m stages.tell"
    clean = {key: value for key, value in os.environ.items() if key not in ("NGLDM_WARM", "PYTEST_CURRENT_TEST")}
    environment = {**clean, "PYTHONPATH": str(ROOT), "DVC_STAGE": "tell", "NGLDM_WARM": "1", **commands.variables}
    said = subprocess.run(
        ["sh", "-c", inside], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert '"forked": false' in said.stdout
    assert '"files": 99' in said.stdout


@pytest.mark.parametrize("variables", [{"NGLDM_WARM": "0"}, {"NGLDM_PROCESSES": "2"}, {"RANK": "0"}])
def test_it_can_be_left_out(commands: Commands, variables: dict[str, str]) -> None:
    assert not commands.told(**variables)["forked"]
    assert commands.servers() == []


def test_a_stage_that_is_called_by_hand_has_a_process_of_its_own(commands: Commands) -> None:
    by_hand = [sys.executable, "-m", "stages.end", "3"]
    clean = {key: value for key, value in os.environ.items() if key != "DVC_STAGE"}
    environment = {**clean, **commands.variables, "PYTHONPATH": str(ROOT), "NGLDM_WARM": "1"}
    assert subprocess.run(by_hand, env=environment, cwd=commands.folder, check=False).returncode == 3
    assert not list(commands.folder.glob("tmp/*/*"))


def test_a_folder_that_others_can_write_to_is_not_used(commands: Commands) -> None:
    folder = commands.sockets / f"ngldm-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    assert not commands.told()["forked"]
    assert list(folder.iterdir()) == []


def test_two_at_once_share_one_warm_process(commands: Commands) -> None:
    commands.warm()
    both = [commands.begin("stages.wait", "begun\n") for _ in range(2)]
    (server,) = commands.servers()
    assert len(server.children()) == 2
    both[0].terminate()
    both[0].communicate(timeout=20)
    assert both[1].poll() is None
    both[1].terminate()
    both[1].communicate(timeout=20)
    assert [process.returncode for process in both] == [143, 143]


def test_it_ends_by_itself(commands: Commands) -> None:
    place = commands.folder / "place.socket"
    code = "import sys; from ngldm.pipeline.warm import server; server.IDLE = 0.1; server.main()"
    command = [sys.executable, "-c", code, str(place), "stages", str(time.time_ns())]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{commands.folder}"}
    assert subprocess.run(command, env=environment, cwd=commands.folder, timeout=60, check=False).returncode == 0
    assert list(commands.folder.glob("place.*")) == []


def test_a_file_that_changes_while_it_is_imported_is_never_old(commands: Commands) -> None:
    """The warm process has the old one, and could not tell it from the new one afterwards."""
    slow = "from pathlib import Path\nPath('waits').touch()\nwhile not Path('go').exists():\n    pass\n"
    (commands.folder / "late.py").write_text(slow)
    (commands.folder / "stages" / "zuletzt.py").write_text("import late\n")
    assert commands.call("stages.end", "0")[0] == 0
    until((commands.folder / "waits").exists)
    (commands.folder / "helper.py").write_text("WORD = 'changed'\n")
    (server,) = commands.servers()
    (commands.folder / "go").touch()
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE or bool(commands.places()))
    assert commands.told()["helper"] == "changed"


def test_a_warm_process_without_a_free_file_harms_no_stage(commands: Commands) -> None:
    """It used to end at once, and its stages with it."""
    commands.warm()
    running = commands.begin("stages.wait", "begun\n")
    (server,) = commands.servers()
    for free in (5, 4, 3, 1, 0):  # a request needs 6 files; without one for the connection it takes no more
        most = max(int(file.name) for file in Path(f"/proc/{server.pid}/fd").iterdir()) + 1
        server.rlimit(psutil.RLIMIT_NOFILE, (most + free, most + free))
        assert commands.call("stages.end", "3")[0] == 3
        assert running.poll() is None
    running.terminate()
    running.communicate(timeout=20)
    assert running.returncode == 143


def test_a_stage_begins_only_if_its_command_still_waits(commands: Commands) -> None:
    commands.warm()
    (place,) = commands.places()
    (server,) = commands.servers()
    made, environment = commands.folder / "made", {"DVC_STAGE": "touch"}
    about = {"argv": ["stages.touch", str(made)], "environment": environment, "group": os.getpgrp()}
    for answer in (b"", b"go"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line, tempfile.TemporaryFile() as file:
            file.write(json.dumps(about).encode())
            file.flush()
            line.settimeout(20.0)
            line.connect(str(place))
            with Path(os.devnull).open("r+") as nowhere:
                socket.send_fds(line, [b"do"], [nowhere.fileno()] * 3 + [file.fileno()])
            assert line.recv(100).startswith(b"ready ")
            if answer:
                line.send(answer)
                assert line.recv(100) == b"ended 0"
        until(lambda: not server.children())
        assert made.exists() == bool(answer)


def test_a_new_package_is_a_change() -> None:
    assert sysconfig.get_path("purelib") in stamps()  # its entries are the packages


def test_the_stages_of_ngldm_are_forked_without_threads_or_gpu(tmp_path: Path) -> None:
    """What a warm process has imported: it has no thread of Python's, and CUDA was not started."""
    code = (
        "import threading, sys; from ngldm.pipeline.warm.server import imports; imports('stages'); import torch; "
        "print(threading.active_count(), torch.cuda.is_initialized(), *(n in sys.modules for n in sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, "mlflow", "ngldm.training.loop", "stages.train"]
    said = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["1", "False", "True", "True", "False"], said.stderr
