"""`ngldm doctor` on the disk: what is free, and what a run takes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ngldm.pipeline.cli.health.disk import disk


def test_doctor_warns_of_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((1e8, "FAIL"), (1e9, "warn"), (1e11, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        assert disk(None).state == state


def test_doctor_says_what_a_run_takes(
    ngldm: Callable[..., tuple[int, str, str]], smoke: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(smoke)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000_000))
    line = next(line for line in ngldm("doctor")[1].splitlines() if " disk " in line)
    assert line.startswith("warn disk       1.0 GB free; a whole run writes about ")
