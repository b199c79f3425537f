"""Slots: whatever fails, dies or is added twice, each slot ends with one good trial. Optuna says what is there."""

import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from ngldm.io.errors import InputError
from ngldm.pipeline.search import storage
from ngldm.pipeline.search.storage import Worker, fill, good_trials, may_run, open_storage


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "s.journal")


@pytest.fixture
def study(place: str) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=open_storage(place))


def slots(study: optuna.Study, *states: TrialState) -> list[Any]:
    return [trial.user_attrs.get("slot") for trial in study.get_trials(states=states or None)]


def test_filling_makes_each_slot_once_with_the_first_values(study: optuna.Study) -> None:
    for _ in range(3):
        fill(study, [{"x": 0.25}], 3, 5)
    assert slots(study) == [0, 1, 2]
    first = study.ask()
    assert first.suggest_float("x", 0.0, 1.0) == 0.25
    assert first.user_attrs["slot"] == 0


def test_a_failed_trial_is_tried_again_with_its_values_and_scores(study: optuna.Study) -> None:
    fill(study, [], 1, 5)
    trial = study.ask()
    x = trial.suggest_float("x", 0.0, 1.0)
    trial.report(3.5, 10)
    trial.set_user_attr("mlflow_run", "abc")
    study.tell(trial, state=TrialState.FAIL)
    fill(study, [], 1, 5)
    again = study.ask()
    assert again.number == 1
    assert again.suggest_float("x", 0.0, 1.0) == x
    frozen = study.get_trials()[1]
    assert (frozen.intermediate_values, frozen.user_attrs["mlflow_run"]) == ({10: 3.5}, "abc")
    study.tell(again, state=TrialState.FAIL)  # before it drew anything: the values still go on
    fill(study, [], 1, 5)
    assert study.ask().suggest_float("x", 0.0, 1.0) == x


def test_a_slot_is_given_up_after_so_many_failures_but_not_when_the_user_stops_it(study: optuna.Study) -> None:
    fill(study, [], 1, 2)
    for reason in ("interrupted", None, "interrupted", None):
        trial = study.ask()
        assert trial.user_attrs["slot"] == 0
        if reason:
            trial.set_user_attr(reason, True)
        study.tell(trial, state=TrialState.FAIL)
        fill(study, [], 1, 2)
    assert slots(study, TrialState.WAITING) == []


def test_values_that_exclude_each_other_are_drawn_again(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_IMPOSSIBLE", 3)
    fill(study, [{"x": 0.25}], 1, 1)
    for _ in range(2):
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        trial.set_user_attr("impossible", "x: not with y")
        study.tell(trial, state=TrialState.FAIL)
        fill(study, [{"x": 0.25}], 1, 1)
    trial = study.ask()
    assert trial.suggest_float("x", 0.0, 1.0) != 0.25
    trial.set_user_attr("impossible", "x: not with y")
    study.tell(trial, state=TrialState.FAIL)
    with pytest.raises(InputError, match=r"s: x: not with y \(in 3 draws\)"):
        fill(study, [], 1, 1)


def test_of_two_trials_of_a_slot_the_first_counts(study: optuna.Study) -> None:
    for _ in range(2):  # as if two workers had seen the slot empty at once
        study.add_trial(optuna.create_trial(state=TrialState.WAITING, user_attrs={"slot": 0}))
    one, other = study.ask(), study.ask()
    trials = study.get_trials()
    assert (may_run(trials, one.number, 9), may_run(trials, other.number, 9)) == (True, False)
    other.set_user_attr("dropped", True)
    study.tell(other, state=TrialState.FAIL)
    study.tell(one, 1.0)
    assert [trial.number for trial in good_trials(study)] == [0]
    fill(study, [], 1, 5)
    assert len(study.get_trials()) == 2


def test_a_trial_without_a_slot_never_runs(study: optuna.Study) -> None:
    """Optuna makes one if two workers ask for the last that waits."""
    trial = study.ask()
    assert not may_run(study.get_trials(), trial.number, 9)
    assert good_trials(study) == []


def test_the_trial_of_a_dead_worker_is_put_back_and_that_of_a_living_one_is_not(
    study: optuna.Study, place: str
) -> None:
    fill(study, [], 2, 5)
    dead, living, own = Worker(place), Worker(place), Worker(place)
    for worker in (dead, living):
        study.ask().set_user_attr("worker", worker.id)
    with living.alive(), own.alive():
        own.bury_dead(study)
        assert [trial.state for trial in study.get_trials()] == [TrialState.FAIL, TrialState.RUNNING]
    assert list(Path(f"{place}.workers").iterdir()) == []


def test_a_trial_whose_worker_died_before_it_wrote_its_name(study: optuna.Study, place: str) -> None:
    fill(study, [], 1, 5)
    study.ask()
    Worker(place, grace=60).bury_dead(study)
    assert slots(study, TrialState.RUNNING) == [0]
    time.sleep(1.1)
    Worker(place, grace=1).bury_dead(study)
    assert slots(study, TrialState.FAIL) == [0]


@pytest.fixture
def database(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/s.db", grace=3))


def test_in_a_database_a_trial_without_heartbeats_is_put_back(database: optuna.Study, tmp_path: Path) -> None:
    fill(database, [], 2, 5)
    dead, living = database.ask(), database.ask()
    connection: Any = database._storage
    for trial in (dead, living):
        trial.set_user_attr("worker", "w")
        connection.record_heartbeat(trial._trial_id)
    worker = Worker(f"sqlite:///{tmp_path}/s.db", grace=3)
    worker.bury_dead(database)
    assert slots(database, TrialState.RUNNING) == [0, 1]
    time.sleep(4.5)  # the database counts in whole seconds
    connection.record_heartbeat(living._trial_id)
    worker.bury_dead(database)
    assert slots(database, TrialState.FAIL) == [0]
    fill(database, [], 2, 5)
    assert slots(database, TrialState.WAITING) == [0]


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("postgresql+psycopg2://me:secret@127.0.0.1:1/none", "me:***@127.0.0.1:1"),
        ("sqlite:////nonexistent/folder/s.db", "nonexistent"),
        ("oracle3://host/name", "oracle3"),
        ("postgresql+psycopg2://me:secret@[::1/none", "me:***@[::1/none"),
        ("postgresql+psycopg2://me:se/secret@127.0.0.1:1/none", "me:***@127.0.0.1:1"),
        ("/proc/nothing/s.journal", "/proc/nothing"),
    ],
)
def test_storage_that_cannot_be_reached_is_one_line_without_the_password(where: str, shown: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError) as error:
        open_storage(where)
    text = str(error.value)
    assert text.startswith("--storage: ")
    assert shown in text
    assert "cannot be reached" in text
    assert "secret" not in text
    assert "\n" not in text
    assert time.perf_counter() - start < 30


def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    for content in ("not a journal\n", "[1]\n", "5\n", "{}\n"):
        (tmp_path / "s.journal").write_text(content)
        with pytest.raises(InputError, match=r"s.journal cannot be reached \(it is no journal of Optuna\)"):
            open_storage(str(tmp_path / "s.journal"))
        assert (tmp_path / "s.journal").read_text() == content


def test_a_line_that_a_full_disk_cut_off_does_no_harm_to_the_next(tmp_path: Path) -> None:
    journal = tmp_path / "s.journal"
    optuna.create_study(study_name="a", storage=open_storage(str(journal)))
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    open_storage(str(journal), create=False)
    assert journal.read_bytes() != whole, "who only reads changes nothing"
    optuna.load_study(study_name="a", storage=open_storage(str(journal))).set_user_attr("kept", 1)
    assert journal.read_bytes().startswith(whole)
    assert optuna.load_study(study_name="a", storage=open_storage(str(journal))).user_attrs == {"kept": 1}


def test_a_journal_is_made_only_to_write_to_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; `ngldm search run` makes it"):
        open_storage(str(tmp_path / "a" / "s.journal"), create=False)
    assert list(tmp_path.iterdir()) == []
    open_storage(str(tmp_path / "a" / "s.journal"))
    open_storage(str(tmp_path / "a" / "s.journal"), create=False)
