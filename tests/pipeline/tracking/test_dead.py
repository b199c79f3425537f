"""Runs whose process has died are ended, and no others."""

from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from ngldm.pipeline.tracking.dead import end_dead_runs, known_to_live
from ngldm.pipeline.tracking.runs import Run
from ngldm.pipeline.tracking.store import Store

LOCKS = Path("checkpoints")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store("tests")


def status(store: Store, run: Run) -> str:
    return store.client.get_run(run.id).info.status


def test_only_the_runs_of_dead_processes_are_ended(store: Store) -> None:
    dead, alive, ended, elsewhere = (Run(store, store.create_run(name, {})) for name in "abcd")
    ended.finish("FAILED")
    LOCKS.mkdir()
    for run in (dead, ended):  # as a kill leaves them
        (LOCKS / f".run-{run.id}.lock").touch()
    (LOCKS / f".run-{'0' * 32}.lock").touch()  # of another store
    with FileLock(LOCKS / f".run-{alive.id}.lock"):
        end_dead_runs(store)
    assert [status(store, run) for run in (dead, alive, ended, elsewhere)] == ["KILLED", "RUNNING", "FAILED", "RUNNING"]
    assert store.client is not None
    assert (LOCKS / f".run-{'0' * 32}.lock").exists()
    assert not (LOCKS / f".run-{dead.id}.lock").exists()


def test_a_process_that_ends_leaves_no_lock(store: Store) -> None:
    run = Run(store, store.create_run("a", {}))
    with suppress(KeyboardInterrupt), known_to_live(run):
        end_dead_runs(store)
        assert status(store, run) == "RUNNING"
        raise KeyboardInterrupt
    assert not list(LOCKS.iterdir())


def test_without_a_store_nothing_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with known_to_live(Run(Store.__new__(Store), None)):
        assert not LOCKS.exists()
