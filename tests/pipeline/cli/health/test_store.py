"""`ngldm doctor` on the MLflow store."""

from pathlib import Path

import pytest

from ngldm.pipeline.cli.health.store import store


def test_no_store_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    finding = store(None)
    assert (finding.state, finding.detail) == ("ok", f"none yet; the first training makes {tmp_path / 'mlflow.db'}")
    assert not list(tmp_path.iterdir())
