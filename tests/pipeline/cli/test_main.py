"""The console script: tools, and a word on where stages are run."""

from collections.abc import Callable
from pathlib import Path

import pytest

Ngldm = Callable[..., tuple[int, str, str]]


def test_a_stage_is_not_a_tool(ngldm: Ngldm, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    code, out, err = ngldm("train", "--noise", "laplace")
    assert (code, out) == (2, "")
    assert "`dvc repro train`" in err
    assert "`python -m stages.train --help`" in err


def test_elsewhere_there_are_no_stages(ngldm: Ngldm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = ngldm("train")
    assert code == 2
    assert "No such command" in err


def test_version(ngldm: Ngldm) -> None:
    import ngldm as package

    assert ngldm("--version") == (0, f"{package.__version__}\n", "")
