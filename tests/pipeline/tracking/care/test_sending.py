"""Sending: in order, once, and what MLflow refuses is left out."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ngldm.pipeline.tracking.care.journal import Journal, kept, read_lines
from ngldm.pipeline.tracking.care.sending import Sending


class Client:
    """MLflow's client, as far as sending needs it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.refuse: Callable[[str], bool] = lambda name: False
        self.up = True
        self.runs: list[Any] = []

    def create_run(self, experiment: str, start: int, tags: dict[str, str], name: str) -> Any:
        self._note("create_run", name)
        info, data = SimpleNamespace(run_id=f"run-{len(self.runs)}"), SimpleNamespace(tags=tags)
        self.runs.append(SimpleNamespace(info=info, data=data))
        return self.runs[-1]

    def search_runs(self, experiments: list[str], condition: str) -> list[Any]:
        _, key, rest = condition.split("`")
        return [run for run in self.runs if run.data.tags.get(key) == rest.split("'")[1]]

    def log_batch(self, run: str, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        self._note("log_batch", (run, [(tag.key, tag.value) for tag in tags]))

    def set_terminated(self, run: str, status: str, end: int | None = None) -> None:
        self._note("set_terminated", (run, status))

    def get_experiment(self, experiment: str) -> None:
        if not self.up:
            raise OSError("gone")

    def _note(self, name: str, about: Any) -> None:
        if not self.up:
            raise OSError("gone")
        if self.refuse(name):
            raise ValueError(f"{name} refused")
        self.calls.append((name, about))


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def send(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Send all; what was said."""
    monkeypatch.chdir(tmp_path)
    store = SimpleNamespace(client=client, experiment_id="1")

    def call() -> list[str]:
        said: list[str] = []
        Sending(store, said.append).send_all("ngldm")
        return said

    return call


def keep_a_run(name: str, parent: str = "", **tags: str) -> str:
    """A journal with a run that ends, by a process that has ended."""
    journal = Journal("ngldm")
    run: str = journal.create_run("", tags={**tags, "mlflow.parentRunId": parent}, run_name=name).info.run_id
    journal.set_tag(run, "late", "1")
    journal.set_terminated(run, "FINISHED")
    journal.lock.release()
    return run


def test_a_run_of_an_earlier_journal_is_known_by_its_new_name(send: Any, client: Client) -> None:
    parent = keep_a_run("parent")
    keep_a_run("child", parent)
    assert send() == []
    assert client.runs[1].data.tags["mlflow.parentRunId"] == "run-0"
    assert [name for name, _ in client.calls] == ["create_run", "log_batch", "set_terminated"] * 2
    assert not Path("unsent").exists()


def test_what_a_failure_leaves_is_sent_once(send: Any, client: Client) -> None:
    keep_a_run("one")
    original = client.log_batch

    def fail(*args: Any) -> None:
        client.up = False
        original(*args)

    client.log_batch = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="gone"):
        send()
    assert len(kept()) == 1
    client.up, client.log_batch = True, original  # type: ignore[method-assign]
    send()
    assert [name for name, _ in client.calls] == ["create_run", "log_batch", "set_terminated"]
    assert kept() == []


def test_what_is_refused_is_said_and_left_out(send: Any, client: Client) -> None:
    keep_a_run("one")
    client.refuse = lambda name: name == "log_batch"
    assert send() == ["MLflow refused 1 records that were kept; they are left out: log_batch refused"]
    assert [name for name, _ in client.calls] == ["create_run", "set_terminated"]


@pytest.mark.parametrize(("there", "runs"), [("1", 1), ("2", 2)])
def test_a_model_that_has_a_run_gets_no_second_one(there: str, runs: int, send: Any, client: Client) -> None:
    """Unless that was scored with other settings."""
    client.create_run("1", 0, {"ngldm.model_sha256": "a", "ngldm.sample_key": "1"}, "trained")
    keep_a_run("scored", **{"ngldm.model_sha256": "a", "ngldm.sample_key": there})
    send()
    assert len(client.runs) == runs


def test_a_journal_that_is_being_written_is_left(send: Any, client: Client) -> None:
    journal = Journal("ngldm")
    journal.create_run("", run_name="running")
    send()
    assert client.calls == []
    assert len(read_lines(journal.folder)) == 2
