"""`ngldm search`: the commands on a search with tiny trials, and bad input, which is one line and exit code 2."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ngldm.pipeline.experiments.study import run as jobs

ROOT = Path(__file__).parents[3]
Call = Callable[..., tuple[int, str, str]]


def change(workspace: Path, **values: Any) -> None:
    file = workspace / "conf" / "search" / "smoke.yaml"
    YAML().dump({**YAML(typ="safe").load(file), **values}, file)


def test_from_the_search_to_the_tuned_params(workspace: Path, ngldm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda workers, **settings: ThreadPoolExecutor(1))
    code, out, err = ngldm("search", "run", "smoke", "--device", "cpu")
    assert code == 0, err
    assert out.count("CPU seconds\n") == 8
    assert "gaussian" in out
    code, shown, _ = ngldm("search", "show", "smoke", "--write")
    assert code == 0
    assert "4/4" in shown
    assert "student_t: train.lr " in shown
    assert "importance" in shown
    assert (workspace / "tuning" / "summary.csv").is_file()
    code, applied, _ = ngldm("search", "apply", "smoke")
    assert (code, applied.split()) == (0, ["conf/tuned/gaussian.yaml", "conf/tuned/student_t.yaml"])
    code, out, _ = ngldm("params", "--compose", "-S", "recipe=smoke", "-S", "noise=student_t", "-S", "tuned=student_t")
    assert code == 0
    assert "samplers: ['tuned']" in out
    change(workspace, confirm={"train_seeds": 2, "sample_seeds": 1})
    code, out, err = ngldm("search", "confirm", "smoke", "--device", "cpu")
    assert code == 0, err
    assert "2x1" in out
    assert "2x1" in ngldm("search", "show", "smoke")[1]


def test_two_workers_share_the_work(workspace: Path) -> None:
    change(workspace, noises={"gaussian": {}}, trials=4, halving=None)
    command = [sys.executable, "-m", "ngldm", "search", "run", "smoke", "--workers", "2", "--device", "cpu"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(line.split(":")[0] for line in done.stdout.splitlines() if "CPU seconds" in line) == [
        f"smoke-gaussian trial {slot}" for slot in range(4)
    ]
    assert "4/4" in done.stdout


def none_of(workspace: Path, *names: str) -> None:
    for name in names:
        assert not (workspace / name).exists(), f"{name} was made before the check"


BAD: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
    (("nothing",), {}, "unknown search 'nothing'"),
    (("smoke", "--noise", "laplase"), {}, "unknown noise 'laplase'"),
    (("smoke",), {"space": {"train.lrr": {"low": 1, "high": 2}}}, "train.lrr: unknown key"),
    (("smoke",), {"space": {"train.lr": {"low": 2.0, "high": 2.0}}}, "empty range"),
    (("smoke",), {"noises": {"gausian": {}}}, "unknown noise 'gausian'"),
    (("smoke", "--workers", "2", "--device", "nope"), {}, "device 'nope' cannot be used here"),
    (("smoke", "--storage", "postgresql+psycopg2://me:secret@127.0.0.1:1/x"), {}, "cannot be reached"),
]


@pytest.mark.parametrize(("arguments", "changes", "message"), BAD, ids=[message for _, _, message in BAD])
def test_bad_input_is_one_line_before_any_work(
    workspace: Path, ngldm: Call, arguments: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    change(workspace, **changes)
    code, out, err = ngldm("search", "run", "--device", "cpu", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert "secret" not in err
    none_of(workspace, "searches", "checkpoints")


def test_missing_files_are_named_with_what_makes_them(workspace: Path, ngldm: Call) -> None:
    shutil.rmtree(workspace / "data" / "latents")
    code, _, err = ngldm("search", "run", "smoke")
    assert code == 2
    assert "data/latents/train.npy: no such file" in err
    none_of(workspace, "searches")


@pytest.mark.parametrize("command", ["show", "apply", "confirm"])
def test_a_search_that_has_not_run_is_said_to_be_so(workspace: Path, ngldm: Call, command: str) -> None:
    code, _, err = ngldm("search", command, "smoke")
    assert code == 2
    assert "`ngldm search run` makes it" in err
    none_of(workspace, "searches")
