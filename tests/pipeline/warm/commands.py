"""Commands of stages of a folder's own, which import nothing, and the warm processes that they start."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[3]
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
        found = {}  # with their parents
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError, psutil.NoSuchProcess):  # one may end meanwhile
                if b"warm.server" in (text := file.read_bytes()) and str(self.sockets).encode() in text:
                    process = psutil.Process(int(file.parent.name))
                    found[process] = process.parent()
        return [process for process, parent in found.items() if parent not in found]

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
