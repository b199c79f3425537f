"""What conftest.py promises to every test."""

import os
from pathlib import Path

import mlflow

STORES: list[str] = []


def test_a_test_may_choose_a_store(tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    STORES.append(os.environ["MLFLOW_TRACKING_URI"])
    assert mlflow.get_tracking_uri() in STORES


def test_the_next_one_does_not_see_it() -> None:
    assert STORES, "run the whole file: the test before this one chooses a store"
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert mlflow.get_tracking_uri() not in STORES
