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


@pytest.mark.parametrize(
    ("arguments", "default"),
    [
        (("compare",), "all of the newest sweep"),
        (("runs",), "newest first"),
        (("compare",), "`experiment` in params.yaml"),
        (("fid",), "the file in the cache of torch or of the hub"),
        (("generate",), "the best known for the noise"),
        (("schedule", "show"), "all"),
        (("theorem1",), "the paper's without gaussian"),
        (("theorem1",), "1, 3, 10, 30, 100, 300, 1000"),
    ],
)
def test_help_says_what_happens_without_an_option(
    ngldm: Ngldm, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], default: str
) -> None:
    """Rich takes `[default: ...]` in a help text for markup and drops it."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    code, out, _ = ngldm(*arguments, "--help")
    assert code == 0
    assert f"[default: ({default})]" in out


def test_version(ngldm: Ngldm) -> None:
    import ngldm as package

    assert ngldm("--version") == (0, f"{package.__version__}\n", "")
