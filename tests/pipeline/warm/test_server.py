"""A stage from a warm process is as one of its own: words, exit codes, signals, kills, environment, changed sources."""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ngldm.pipeline.warm.server import stamps

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a warm process needs Linux")
# A package of stages that import nothing: its warm process is ready in a moment.
PACKAGE = """
import sys
from ngldm.pipeline.signals import listen
from ngldm.pipeline.warm.client import let_warm_process_do_it
if sys.argv[0] == "-m":
    listen()
    let_warm_process_do_it()
"""
TELL = """
import json, os, resource, signal, sys, threading
print(json.dumps({
    "forked": os.getppid() != int(os.environ["CALLER"]), "main": sys.modules["__main__"].__spec__.name,
    "helper": helper.WORD, "argv": sys.argv[1:], "own": os.environ.get("OWN"), "stage": os.environ["DVC_STAGE"],
    "folder": os.getcwd(), "group": os.getpgrp(), "session": os.getsid(0), "input": sys.stdin.read(),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "umask": os.umask(0),
    "ignored": [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN],
    "threads": threading.active_count(), "streams": [sys.stdin.errors, sys.stdout.errors, sys.stderr.encoding],
    "set by an import": os.environ.get("SET_BY_AN_IMPORT"),
}))
print("to stderr", file=sys.stderr)
"""
END = """
import os, sys
what = sys.argv[1]
if what == "late":
    import atexit, threading, time
    atexit.register(print, "at the end")
    threading.Thread(target=lambda: (time.sleep(0.3), print("from a thread"))).start()
    sys.exit()
if what == "text":
    sys.exit("said at the end")
if what == "raise":
    raise RuntimeError("a defect")
if what == "kill":
    os.kill(os.getpid(), 9)
sys.exit(int(what))
"""
WAIT = """
import sys, time
from ngldm.pipeline.terminal import run
def stage():
    print("begun", flush=True)
    time.sleep(60)
run(stage)
"""


CHAT = """
import sys, time
print("out")
print("err", file=sys.stderr)
time.sleep(60)
"""
TOUCH = """
import sys
from pathlib import Path
Path(sys.argv[1]).touch()
"""
HELPER = """
import os
WORD = "first"
os.environ["SET_BY_AN_IMPORT"] = "yes"
"""


class Commands:
    """Commands in a folder with stages of its own."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder, self.sockets = folder, sockets
        self.variables = {"TMPDIR": str(sockets), "CALLER": str(os.getpid())}
        (folder / "stages").mkdir()
        (folder / "stages" / "__init__.py").write_text(PACKAGE)
        for name, text in {"tell": TELL, "end": END, "wait": WAIT, "chat": CHAT, "touch": TOUCH}.items():
            work = textwrap.indent(text, "    ")
            (folder / "stages" / f"{name}.py").write_text(f"import helper\nif __name__ == '__main__':\n{work}")
        (folder / "helper.py").write_text(HELPER)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        clean = {key: value for key, value in os.environ.items() if key not in ("NGLDM_WARM", "PYTEST_CURRENT_TEST")}
        environment = {
            **clean,
            "PYTHONPATH": str(ROOT),
            "DVC_STAGE": "tell",
            "NGLDM_WARM": "1",
            **self.variables,
            **variables,
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-m", *arguments]
        return subprocess.Popen(command, env=environment, cwd=self.folder, **pipes)

    def call(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **variables)
        out, err = process.communicate("some input", timeout=60)
        return process.returncode, out, err

    def servers(self) -> list[psutil.Process]:
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if b"warm.server" in (text := file.read_bytes()) and str(self.sockets).encode() in text:
                    found.append(psutil.Process(int(file.parent.name)))
        return [process for process in found if process.parent() not in found]

    def warm(self, **variables: str) -> None:
        """Have a warm process that listens."""
        before = len(self.places())
        assert self.call("stages.end", "0", **variables)[0] == 0
        until(lambda: len(self.places()) > before)

    def places(self) -> list[Path]:
        return list(self.sockets.glob("*/*.socket"))

    def begin(self, stage: str, word: str, **variables: str) -> subprocess.Popen[str]:
        """Start a stage, and wait for its first line."""
        process = self.start(stage, **variables)
        assert process.stdout is not None
        assert process.stdout.readline() == word
        return process

    def told(self, *arguments: str, **variables: str) -> dict[str, object]:
        code, out, _ = self.call("stages.tell", *arguments, **variables)
        assert code == 0
        return dict(json.loads(out))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def commands(tmp_path: Path, sockets: Path) -> Iterator[Commands]:
    made = Commands(tmp_path, sockets)
    yield made
    for process in made.servers():
        process.kill()
        process.wait(10)


def test_the_first_command_has_a_process_of_its_own_and_the_next_are_forks(commands: Commands) -> None:
    alone = commands.told("--noise", "größer", NGLDM_WARM="0", OWN="a")
    assert not alone.pop("forked")
    commands.warm(OWN="a")
    forked = commands.told("--noise", "größer", OWN="a")
    assert forked.pop("forked")
    assert forked == alone
    assert commands.call("stages.tell", OWN="a")[2] == "to stderr\n"


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("0", 0, ""),
        ("2", 2, ""),
        ("258", 2, ""),
        ("-1", 255, ""),
        ("text", 1, "said at the end\n"),
        ("kill", -9, ""),
        ("raise", 1, "RuntimeError: a defect\n"),
    ],
)
def test_it_ends_as_the_stage_ends(commands: Commands, what: str, code: int, words: str) -> None:
    commands.warm()
    found, out, err = commands.call("stages.end", what)
    assert (found, out) == (code, "")
    assert err.endswith(words)
    assert commands.call("stages.end", what, NGLDM_WARM="0")[0] == code


def test_threads_and_what_is_to_be_done_at_the_end_are_waited_for(commands: Commands) -> None:
    commands.warm()
    assert commands.call("stages.end", "late") == (0, "from a thread\nat the end\n", "")


@pytest.mark.parametrize(("unbuffered", "code"), [("", 120), ("1", 1)])
def test_output_that_cannot_be_written_is_a_fault(commands: Commands, unbuffered: str, code: int) -> None:
    """As without a warm process: noticed when it is written, or at the end."""
    commands.warm(PYTHONUNBUFFERED=unbuffered)
    for warm in ("1", "0"):
        process = commands.start("stages.tell", NGLDM_WARM=warm, PYTHONUNBUFFERED=unbuffered)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.close()
        assert (warm, process.wait(30)) == (warm, code)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_reaches_the_stage(commands: Commands, name: str) -> None:
    commands.warm()
    process = commands.begin("stages.wait", "begun\n")
    process.send_signal(number := signal.Signals[name])
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + number, f"stopped by {name}; the last checkpoint, if any, is kept\n")


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


def test_an_unbuffered_stage_is_heard_at_once(commands: Commands) -> None:
    commands.warm(PYTHONUNBUFFERED="1")
    process = commands.begin("stages.chat", "out\n", PYTHONUNBUFFERED="1")
    assert process.stderr is not None
    assert process.stderr.readline() == "err\n"
    process.kill()
    process.communicate(timeout=10)


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
