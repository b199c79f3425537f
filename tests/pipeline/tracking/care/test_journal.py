"""A journal answers like MLflow's client. tests/faults/test_tracking.py compares what is sent."""

from pathlib import Path

import pytest

from ngldm.pipeline.tracking.care.journal import Journal, NotKeptHere, experiments, kept, read_lines


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.chdir(tmp_path)
    return Journal("ngldm")


def test_nothing_kept_leaves_nothing(journal: Journal, tmp_path: Path) -> None:
    assert not list(tmp_path.iterdir())
    assert kept() == []


def test_runs_are_found_by_a_tag(journal: Journal) -> None:
    first, second = (journal.create_run("0", tags={"a": "b"}, run_name=name).info.run_id for name in "xy")
    journal.set_tag(second, "late", 1)
    journal.set_terminated(second, "FINISHED", 7)
    assert [run.info.run_id for run in journal.search_runs(["0"], "tags.`a` = 'b'")] == [second, first]
    (late,) = journal.search_runs(["0"], "tags.`late` = '1'")
    assert (late.info.run_name, late.info.status, late.info.end_time) == ("y", "FINISHED", 7)
    assert journal.get_run(first).info.status == "RUNNING"
    assert journal.search_runs(["0"], "tags.`a` = 'c'") == []


def test_another_process_knows_the_runs(journal: Journal) -> None:
    run = journal.create_run("0", tags={"a": "b"}).info.run_id
    assert [found.info.run_id for found in Journal("ngldm").search_runs(["0"], "tags.`a` = 'b'")] == [run]
    assert Journal("another").search_runs(["0"], "tags.`a` = 'b'") == []
    assert experiments() == ["ngldm"]


def test_other_questions_are_not_answered(journal: Journal) -> None:
    with pytest.raises(NotKeptHere):
        journal.search_runs(["0"], "metrics.loss < 1")
    with pytest.raises(NotKeptHere):
        journal.search_logged_models(["0"])


def test_a_journal_is_for_one_store(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.create_run("0")
    assert kept("ngldm") == [journal.folder]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@host")
    assert kept() == []
    Journal("ngldm").create_run("0")
    assert len(kept()) == 1
    assert "secret" not in "".join(str(line) for line in read_lines(kept()[0]))


def test_a_cut_line_is_left_out(journal: Journal) -> None:
    journal.create_run("0")
    with (journal.folder / "journal.jsonl").open("a") as file:
        file.write('{"do": "log_')
    assert [line["do"] for line in read_lines(journal.folder)] == ["start", "create_run"]
