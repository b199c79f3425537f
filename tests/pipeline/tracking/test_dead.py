"""Runs whose process has died are ended, and no others."""

from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from ngldm.pipeline.tracking.care.living import TAG
from ngldm.pipeline.tracking.dead import end_dead_runs, working_on_runs
from ngldm.pipeline.tracking.runs import PARENT_ID, Run
from ngldm.pipeline.tracking.store import Store

LOCKS = Path("checkpoints")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store("tests")


def status(store: Store, run: Run) -> str:
    return store.client.get_run(run.id).info.status


def test_only_the_runs_of_dead_processes_are_ended(store: Store) -> None:
    dead, alive, ended = (Run(store, store.create_run(name, {TAG: name})) for name in ("dead", "alive", "ended"))
    unmarked = Run(store, store.create_run("unmarked", {}))
    ended.finish("FAILED")
    LOCKS.mkdir()
    for name in ("dead", "ended"):  # as a kill leaves them
        (LOCKS / f".run-here-{name}.lock").touch()
    (LOCKS / ".run-another-dead.lock").touch()  # of another store
    with FileLock(LOCKS / ".run-here-alive.lock"):
        end_dead_runs(store)
    assert [status(store, run) for run in (dead, alive, ended, unmarked)] == ["KILLED", "RUNNING", "FAILED", "RUNNING"]
    assert sorted(path.name for path in LOCKS.iterdir()) == [".run-another-dead.lock", ".run-here-alive.lock"]


@pytest.mark.parametrize(("children", "expected"), [([], "KILLED"), (["FAILED"], "FAILED"), (["FINISHED"], "FINISHED")])
def test_a_comparison_ends_with_its_runs(store: Store, children: list[str], expected: str) -> None:
    """A kill can come after the comparison is made, before it has a run."""
    parent = Run(store, store.create_run("parent", {TAG: "dead"}))
    for child in children:
        Run(store, store.create_run("child", {TAG: "dead", PARENT_ID: str(parent.id)})).finish(child)
    LOCKS.mkdir()
    (LOCKS / ".run-here-dead.lock").touch()
    end_dead_runs(store)
    assert status(store, parent) == expected


def test_a_comparison_with_a_living_run_goes_on(store: Store) -> None:
    parent = Run(store, store.create_run("parent", {TAG: "dead"}))
    store.create_run("child", {TAG: "alive", PARENT_ID: str(parent.id)})
    LOCKS.mkdir()
    (LOCKS / ".run-here-dead.lock").touch()
    end_dead_runs(store)
    assert status(store, parent) == "RUNNING"


def test_a_process_that_ends_leaves_no_lock(store: Store) -> None:
    with suppress(KeyboardInterrupt), working_on_runs(store):
        run = Run(store, store.create_run("a", {}))
        end_dead_runs(store)
        assert status(store, run) == "RUNNING"
        raise KeyboardInterrupt
    assert not list(LOCKS.iterdir())


def test_a_run_that_was_there_already_is_ended_too(store: Store) -> None:
    old = Run(store, store.create_run("old", {}))
    old.finish()
    old.tags({TAG: "dead"})
    LOCKS.mkdir()
    with working_on_runs(store):
        old.go_on()
        (mark,) = LOCKS.iterdir()
    mark.touch()  # as a kill leaves it
    end_dead_runs(store)
    assert status(store, old) == "KILLED"


def test_without_a_store_nothing_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.__new__(Store)
    store.client = None
    with working_on_runs(store):
        assert not LOCKS.exists()
