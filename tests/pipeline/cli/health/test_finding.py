"""A check that breaks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ngldm.pipeline.cli.health.doctor import CHECKS
from ngldm.pipeline.cli.health.finding import Finding

Ngldm = Callable[..., tuple[int, str, str]]


def test_a_check_that_breaks_is_a_finding_not_a_traceback(
    ngldm: Ngldm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(params: object) -> Finding:
        raise RuntimeError("a bug")

    for name in list(CHECKS):
        monkeypatch.delitem(CHECKS, name)
    monkeypatch.setitem(CHECKS, "broken", broken)
    monkeypatch.chdir(tmp_path)
    code, out, err = ngldm("doctor")
    assert code == 1
    assert out.startswith("FAIL broken     RuntimeError: a bug")
    assert "Traceback" not in err
