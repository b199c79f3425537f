"""`ngldm doctor` on the MLflow store."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from ngldm.pipeline.cli.health.store import TAG, store
from ngldm.pipeline.config.params import Params, parse_params
from ngldm.pipeline.tracking.store import Store


@pytest.fixture
def params(content: dict[str, Any]) -> Params:
    return parse_params(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def test_no_store_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    finding = store(None)
    assert (finding.state, finding.detail) == ("ok", f"none yet; the first training makes {tmp_path / 'mlflow.db'}")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_its_place_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    monkeypatch.chdir(tmp_path)
    finding = store(None)
    assert (finding.state, finding.remedy) == ("FAIL", "move it away")
    assert "is a folder" in finding.detail


def test_ok_means_that_it_was_written_and_read(params: Params, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    own = Store(params.experiment)
    assert store(params).state == "ok"
    assert own.client.get_experiment(own.experiment_id).tags[TAG].isdecimal()
    monkeypatch.setattr(
        mlflow.MlflowClient, "set_experiment_tag", lambda *args: None
    )  # a store that loses what it takes
    assert store(params).state == "FAIL"


def test_a_deleted_experiment_and_what_waits_are_named(
    params: Params, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    own = Store(params.experiment)
    own._fall_back(OSError("gone"))
    own.create_run("later", {})
    assert store(params).remedy == "`ngldm track sync`"
    own.client = mlflow.MlflowClient()
    own.client.delete_experiment(own.experiment_id)
    finding = store(params)
    assert (finding.state, "deleted" in finding.detail) == ("warn", True)


def test_a_moved_store_is_named(params: Params, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    if (found := client.get_experiment_by_name(params.experiment)) and found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "mlflow.db").write_bytes((folder / "mlflow.db").read_bytes())
    monkeypatch.chdir(moved)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    finding = store(params)
    assert finding.state == "warn"
    assert folder.as_uri() in finding.detail
