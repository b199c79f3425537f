"""The tracking store: away, hanging, locked, damaged, moved, deleted. None stops the work or loses a record."""

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from ngldm.pipeline.config.params import Params, parse_params
from ngldm.pipeline.tracking.care import living
from ngldm.pipeline.tracking.comparison import run_of_model, training_run
from ngldm.pipeline.tracking.models import log_model, update_best
from ngldm.pipeline.tracking.store import Store
from ngldm.training.loop import Report

Ngldm = Callable[..., tuple[int, str, str]]
MOST_SECONDS = 15.0


@pytest.fixture
def params(content: dict[str, Any]) -> Params:
    return parse_params(content)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://user:secret@127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an experiment and nothing else: making one costs seconds."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert Store("ngldm").answers
    return folder / "mlflow.db"


@pytest.fixture
def a_store(here: Path, made: Path) -> Path:
    """The repository's store: a copy of the one that is made."""
    (here / "mlflow.db").write_bytes(made.read_bytes())
    with closing(sqlite3.connect(here / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", ((here / "mlartifacts" / "ngldm").as_uri(),))
    mlflow.set_tracking_uri(None)
    return here / "mlflow.db"


def a_training(params: Params, model: Path | None = None) -> None:
    """What the stages train and evaluate record, the second with a store of its own."""
    store, picture = Store("ngldm"), np.zeros((8, 8, 3), np.uint8)
    with training_run(store, params, "laplace", "key") as run:
        run.data_input("digits", Path("train.npy"), picture, "abc", "training")
        run.report(Report(10, 0.5, 0.5, 1e-3, 1.0, 100.0, None))
        run.report(Report(20, 0.25, 0.5, 1e-3, 1.0, 100.0, 0.4))
        run.picture("training", picture, 20)
        run.tags({"ngldm.model_sha256": "sha"})
        if model is not None:
            log_model(store, run, model, "laplace", (1, 8, 8))
    scoring = Store("ngldm")
    scored = run_of_model(scoring, params, "laplace", "sha" if model is None else run_tag(model), "auto")
    scored.metrics({"fd.auto": 1.5})
    if model is not None:
        update_best(scoring, "laplace", run_tag(model), 1.5, {"num_images": 10})
    scored.finish()


def run_tag(model: Path) -> str:
    from ngldm.io.files import sha256_file

    return sha256_file(model)


def recorded(file: Path) -> list[Any]:
    """All that a store says of its runs, without what differs from one time to the next."""
    client = mlflow.MlflowClient(f"sqlite:///{file}")
    experiment = client.get_experiment_by_name("ngldm").experiment_id
    found = []
    for run in client.search_runs([experiment], order_by=["attributes.start_time ASC"]):
        keys = [key for key in run.data.metrics if not key.startswith(("train.memory", "system/"))]
        curves = {key: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)] for key in keys}
        moved = ("mlflow.parentRunId", "ngldm.unsent", "mlflow.user", "mlflow.log-model.history", living.TAG)
        tags = {key: value for key, value in run.data.tags.items() if key not in moved}
        inputs = [(data.dataset.name, data.dataset.digest) for data in run.inputs.dataset_inputs]
        pictures = len(client.list_artifacts(run.info.run_id, "images"))
        about = (run.info.run_name, run.info.status, "mlflow.parentRunId" in run.data.tags)
        found.append((about, run.data.params, curves, tags, inputs, pictures))
    return found


@pytest.fixture(scope="module")
def undisturbed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What `a_training` leaves in a store that works."""
    from ruamel.yaml import YAML

    params = parse_params(YAML(typ="safe").load(Path(__file__).parents[2] / "params.yaml"))
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        (folder / "mlflow.db").write_bytes(made.read_bytes())
        a_training(params)
    mlflow.set_tracking_uri(None)
    return recorded(folder / "mlflow.db")


def one_warning(errors: str, *words: str) -> None:
    assert errors.count("\n") == 1, errors
    assert errors.startswith("warning: MLflow failed")
    for word in (*words, "ngldm track sync"):
        assert word in errors


def test_a_server_that_hangs_costs_seconds(
    here: Path, hanging: str, params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", hanging)
    start = time.monotonic()
    with training_run(Store("ngldm"), params, "laplace", "key") as run:
        run.metrics({"loss": 1.0})
    assert time.monotonic() - start < MOST_SECONDS
    out, errors = capsys.readouterr()
    one_warning(errors, hanging.replace("secret", "***"), "did not answer", "start it")
    assert "secret" not in errors + out
    assert not any("secret" in file.read_text() for file in here.rglob("*.jsonl"))


def test_a_server_that_is_gone_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    Store("ngldm")
    one_warning(capsys.readouterr().err, "http://127.0.0.1:9 cannot be reached")


@pytest.mark.parametrize("fault", ["folder", "not an SQLite database", "locked"])
def test_a_store_that_cannot_be_used_loses_nothing(
    fault: str, here: Path, a_store: Path, params: Params, undisturbed: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    aside = here / "aside"
    a_store.rename(aside)
    if fault == "folder":
        a_store.mkdir()
    elif fault == "not an SQLite database":
        a_store.write_bytes(b"no database at all" * 100)
    else:
        a_store.write_bytes(aside.read_bytes())
    with closing(sqlite3.connect(a_store if fault == "locked" else ":memory:", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        a_training(params)
        assert time.monotonic() - start < 2 * MOST_SECONDS  # two stages
    lines = capsys.readouterr().err.splitlines(keepends=True)
    assert len(lines) == 2
    one_warning(lines[0], str(a_store), fault)
    if fault == "folder":
        a_store.rmdir()
    aside.replace(a_store)
    assert Store("ngldm").answers
    assert "sent" in capsys.readouterr().out
    assert recorded(a_store) == undisturbed
    assert not (here / "unsent").exists()


def test_a_store_that_fails_in_the_middle_loses_nothing(
    a_store: Path, params: Params, undisturbed: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    holder = sqlite3.connect(a_store, isolation_level=None)

    def lock(store: Store) -> None:
        store.left = 2.0  # of 15 seconds
        holder.execute("BEGIN EXCLUSIVE")

    with closing(holder):
        store = Store("ngldm")
        with training_run(store, params, "laplace", "key") as run:
            picture = np.zeros((8, 8, 3), np.uint8)
            run.data_input("digits", Path("train.npy"), picture, "abc", "training")
            run.report(Report(10, 0.5, 0.5, 1e-3, 1.0, 100.0, None))
            lock(store)
            run.report(Report(20, 0.25, 0.5, 1e-3, 1.0, 100.0, 0.4))
            run.picture("training", picture, 20)
            run.tags({"ngldm.model_sha256": "sha"})
        holder.rollback()
    one_warning(capsys.readouterr().err, "locked by another process")
    del store, run
    scoring = Store("ngldm")
    scored = run_of_model(scoring, params, "laplace", "sha", "auto")
    scored.metrics({"fd.auto": 1.5})
    scored.finish()
    assert recorded(a_store) == undisturbed


def test_sync_sends_what_is_kept(
    ngldm: Ngldm,
    here: Path,
    a_store: Path,
    params: Params,
    write_model: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also a model, which is registered with its alias then; and it says what it could not send."""
    model, aside = write_model(here / "model.safetensors"), here / "aside"
    a_store.rename(aside)
    a_store.mkdir()
    a_training(params, model)
    code, out, errors = ngldm("track", "sync")
    assert code == 1
    assert "2 journals are left" in out
    one_warning(errors, "folder")
    a_store.rmdir()
    aside.rename(a_store)
    code, out, errors = ngldm("track", "sync")
    assert (code, errors) == (0, "")
    client = mlflow.MlflowClient(f"sqlite:///{a_store}")
    assert client.get_model_version_by_alias("ngldm-laplace", "best").tags["ngldm.model_sha256"] == run_tag(model)
    assert ngldm("track", "sync") == (0, "nothing is kept for this store\n", "")


def test_a_killed_stage_leaves_a_killed_run(
    here: Path, a_store: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    aside = here / "aside"
    a_store.rename(aside)
    a_store.mkdir()
    store = Store("ngldm")
    store.create_run("killed", {})
    (journal,) = (here / "unsent").glob("*/journal.jsonl")
    with journal.open("a") as file:
        file.write('{"do": "log_ba')  # the kill cut a line
    del store
    a_store.rmdir()
    aside.rename(a_store)
    Store("ngldm")
    assert [about[:2] for about, *_ in recorded(a_store)] == [("killed", "KILLED")]


def test_a_renamed_repository_keeps_its_artifacts(
    tmp_path: Path, a_store: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_training(params)
    moved = tmp_path / "moved größer"
    a_store.parent.rename(moved)
    monkeypatch.chdir(moved)
    mlflow.set_tracking_uri(None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    capsys.readouterr()
    store = Store("ngldm")
    assert capsys.readouterr().out.count("was moved from") == 1
    for run in store.client.search_runs([store.experiment_id]):
        assert run.info.artifact_uri.startswith(moved.as_uri())
    assert any(store.client.list_artifacts(run.info.run_id) for run in store.client.search_runs([store.experiment_id]))
    assert not a_store.parent.exists()
    Store("ngldm")
    assert capsys.readouterr().out == ""


def test_a_deleted_experiment_is_restored(a_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store("ngldm")
    store.client.delete_experiment(store.experiment_id)
    again = Store("ngldm")
    assert "restored" in capsys.readouterr().out
    assert again.create_run("run", {}) is not None
