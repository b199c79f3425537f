"""`ngldm doctor`: what is wrong is found, and how to repair it is said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ngldm.pipeline.cli.health.doctor import CHECKS
from ngldm.pipeline.config.params import parse_params

Ngldm = Callable[..., tuple[int, str, str]]


def test_doctor_finds_a_finished_workspace_healthy(ngldm: Ngldm, smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    monkeypatch.delenv("NGLDM_DEVICE", raising=False)
    code, out, _ = ngldm("doctor")
    assert code == 0, out
    lines = [line for line in out.splitlines() if line.startswith(("ok", "warn", "FAIL"))]
    assert len(lines) == len(CHECKS)
    assert not any(line.startswith("FAIL") for line in lines)
    assert "1500 training" in out
    assert "mlflow.db: " in out


def test_doctor_names_each_fault_and_its_remedy(ngldm: Ngldm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder without git, params, with a damaged store and a device that does not exist."""
    (tmp_path / "mlflow.db").write_bytes(b"this is no database at all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("NGLDM_DEVICE", "cuda:99")
    code, out, _ = ngldm("doctor")
    assert code == 1
    failed = {line.split()[1] for line in out.splitlines() if line.startswith("FAIL")}
    assert failed == {"device", "params", "store", "dvc"}
    assert out.count("to repair it") >= 3
    assert "4 of 9 checks failed" in out


@pytest.mark.parametrize(
    ("change", "check", "state", "word"),
    [
        ({"evaluate": {"extractor": "inception", "inception_weights": "none.pth"}}, "weights", "FAIL", "none.pth"),
        ({"dataset": {"source": "nowhere"}}, "data set", "FAIL", "nowhere"),
    ],
)
def test_doctor_checks_what_the_params_need(
    content: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict, check: str, state: str, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for section, values in change.items():
        content[section].update(values)
    finding = CHECKS[check](parse_params(content))
    assert finding.state == state
    assert word in finding.detail
    assert finding.remedy
