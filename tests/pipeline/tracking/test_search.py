"""MLflow's runs of a search: one for each trial, below that of its study, also over several attempts."""

from pathlib import Path

import pytest

from ngldm.pipeline.tracking.search import study_run, trial_run
from ngldm.pipeline.tracking.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store("searches")


def test_a_study_has_one_run_whoever_asks(store: Store) -> None:
    first = study_run(store, "s-laplace", "key", {"noise": "laplace"})
    assert study_run(Store("searches"), "s-laplace", "key", {}).id == first.id
    assert study_run(store, "s-laplace", "other", {}).id != first.id
    assert store.ask(lambda client: client.get_run(first.id).data.tags["noise"]) == "laplace"


def test_a_trial_that_is_tried_again_keeps_its_run(store: Store) -> None:
    parent = study_run(store, "s", "key", {})
    first = trial_run(store, parent, "trial 0", None, {"train.lr": 0.1})
    first.finish("KILLED")

    def status(run_id: str | None) -> str:
        found: str = store.client.get_run(run_id).info.status
        return found

    assert (status(first.id), status(parent.id)) == ("KILLED", "KILLED")
    again = trial_run(store, parent, "trial 0", first.id, {"train.lr": 0.1})
    assert again.id == first.id
    assert (status(first.id), status(parent.id)) == ("RUNNING", "RUNNING")
    again.finish()
    assert (status(first.id), status(parent.id)) == ("FINISHED", "FINISHED")
    run = store.client.get_run(first.id)
    assert run.data.tags["mlflow.parentRunId"] == parent.id
    assert run.data.params == {"train.lr": "0.1"}


def test_without_a_store_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nothing://nowhere")
    broken = Store("searches")
    parent = study_run(broken, "s", "key", {})
    run = trial_run(broken, parent, "trial 0", None, {})
    run.metrics({"fd": 1.0})
    run.finish()
    assert all(str(kept).startswith("unsent-") for kept in (parent.id, run.id))


def test_a_trial_that_was_kept_goes_on_in_its_run(store: Store) -> None:
    """Its id in the search is that of the journal; the run that was sent has it as a tag."""
    parent = study_run(store, "s", "kept", {})
    sent = store.create_run("trial 7", {"ngldm.unsent": "unsent-7"})
    assert trial_run(store, parent, "trial 7", "unsent-7", {}).id == sent
    assert trial_run(store, parent, "trial 8", "unsent-8", {}).id not in (None, sent, "unsent-8")
