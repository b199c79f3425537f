"""Machines that are not as they should be: no HOME, no UTF-8, odd paths, a full /dev/shm, other clocks, a group."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ngldm.io import disk
from ngldm.io.files import sha256_file
from ngldm.model import Model
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.tracking.care.journal import Journal, kept
from ngldm.pipeline.tracking.store import Store
from stages import sample

NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # else Python takes UTF-8 instead
SMALL = "mount -t tmpfs -o size=64k,ro tmpfs home && mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero"


@pytest.fixture
def workspace(root: Path, tmp_path: Path, make_model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params and a model, and with what the stage `sample` makes of it on a usual machine."""
    folder = tmp_path / "usual"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copytree(root / "conf", folder / "conf")
    compose_params(Path("params.yaml"), ["recipe=smoke", "noises=[laplace]", "samplers=[auto]"])
    make_model("laplace").save(Path("models", "laplace", "model.safetensors"))
    sample.sample("laplace", "auto", "cpu")
    return folder


@pytest.mark.parametrize("fault", ["no HOME and no UTF-8", "a read-only HOME and a full /dev/shm"])
def test_a_stage_gives_the_same(fault: str, workspace: Path, tmp_path: Path, root: Path) -> None:
    """In a folder whose name has spaces and letters of other alphabets."""
    folder = tmp_path / "a b größe λ"
    (folder / "home").mkdir(parents=True)
    shutil.copy(workspace / "params.yaml", folder)
    shutil.copytree(workspace / "models", folder / "models")
    stage = [sys.executable, "-m", "stages.sample", "--noise", "laplace", "--sampler", "auto", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    if fault == "no HOME and no UTF-8":
        environment = {key: value for key, value in {**environment, **NO_UTF8}.items() if key != "HOME"}
    else:
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
            pytest.skip("no file system may be mounted here")
        environment["HOME"] = str(folder / "home")
        stage = ["unshare", "-m", "sh", "-c", f'{SMALL} > /dev/shm/full && exec "$@"', "sh", *stage]
    done = subprocess.run(stage, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = Path("samples", "laplace", "auto", "images.npy")
    assert sha256_file(folder / made) == sha256_file(workspace / made)


def test_a_clock_that_is_set_back_keeps_the_order_of_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's parent may be in an earlier journal, so that must be sent first."""
    monkeypatch.chdir(tmp_path)
    first = Journal("ngldm")
    first.create_run("0")
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)  # the year 2001
    second = Journal("ngldm")
    second.create_run("0")
    assert kept() == [first.folder, second.folder]


def test_a_group_may_share_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the umask 002, as a shared folder needs it. SQLite itself makes a file that its owner alone may write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(disk, "UMASK", 0o002)
    assert Store("ngldm").answers
    assert (tmp_path / "mlflow.db").stat().st_mode & 0o777 == 0o664
