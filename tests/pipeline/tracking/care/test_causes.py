"""Causes are found within the seconds that are given."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ngldm.pipeline.tracking.care.causes import trouble


def test_a_store_that_is_not_there_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert trouble() is None


def test_a_store_in_order_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("mlflow.db")) as database, database:
        database.execute("CREATE TABLE a (b)")
    assert trouble() is None


def test_a_lock_is_waited_for_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("mlflow.db", isolation_level=None)) as holder:
        holder.execute("CREATE TABLE a (b)")
        holder.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        assert "locked by another process for 0.3 s" in str(trouble(0.3))
        assert 0.3 <= time.monotonic() - start < 3.0


def test_a_damaged_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the right beginning and nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\0" + os.urandom(4000))
    assert "move it away" in str(trouble())


def test_a_folder_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none/mlflow.db")
    assert f"{tmp_path}/none is no folder" in str(trouble())


def test_a_server_that_refuses_answers(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has no page /health: a status of 404 is an answer, as 401 is."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    assert trouble() is None
