"""Forked children: a process that may be killed, limited or become another user, without the seconds of imports."""

import logging
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow  # noqa: F401  # so that a child need not import it

Ended = subprocess.CompletedProcess[str]


class Child:
    """A child of this process, which has all imports.

    Args:
        entry: what it runs, as `ngldm.pipeline.terminal.command` gives it.
        outputs: a new folder, for what it prints.
    """

    def __init__(self, entry: Callable[[], Any], outputs: Path) -> None:
        outputs.mkdir()
        self.texts = [outputs / "stdout", outputs / "stderr"]
        self.pid = os.fork()
        if self.pid:
            return
        code = 70
        try:
            for number, text in enumerate(self.texts, start=1):
                os.dup2(os.open(text, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
            sys.argv = ["action"]
            logging.disable()  # this process has imported MLflow before ngldm could quieten it
            entry()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def said(self, line: str) -> None:
        """Wait until a line that holds this is printed."""
        end = time.monotonic() + 120
        while not (self.texts[0].exists() and line in self.texts[0].read_text()):
            assert time.monotonic() < end, [text.read_text() for text in self.texts]
            time.sleep(0.02)

    def end(self) -> Ended:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return subprocess.CompletedProcess([], code, *(text.read_text() for text in self.texts))
