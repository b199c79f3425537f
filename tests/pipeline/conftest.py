"""What the tests of searches, and of their commands, share."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def workspace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recipe smoke with the files that its trainings share, its models and conf/."""
    for name in ("data", "models", "conf"):
        shutil.copytree(smoke / name, tmp_path / name)
    for name in ("mlflow.db", "params.yaml"):
        shutil.copy(smoke / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
