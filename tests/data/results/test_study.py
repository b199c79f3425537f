"""The study's scores, on disk: what is written is what is read, in an order of its own."""

from pathlib import Path

import pytest

from ngldm.data.results.study import StudyRow, read_scores, write_scores
from ngldm.io.errors import InputError


def row(variant: str, train_seed: int, value: float) -> StudyRow:
    return StudyRow(
        variant=variant,
        train_seed=train_seed,
        sampler="heun",
        sample_seed=0,
        noise="laplace",
        forward="markov",
        objective="v",
        network_calls=25,
        value=value,
        outliers=0.125,
        further={},
    )


def test_rows_come_back_sorted_whatever_job_ended_first(tmp_path: Path) -> None:
    first, second, third = row("a", 0, 0.1 + 0.2), row("a", 1, 1e-300), row("b", 0, 3.0)
    for rows in ([third, first, second], [second, third, first]):
        write_scores(rows, tmp_path / "study")
        assert read_scores(tmp_path / "study") == [first, second, third]


def test_a_study_without_variants_has_no_rows(tmp_path: Path) -> None:
    write_scores([], tmp_path / "study")
    assert read_scores(tmp_path / "study") == []


def test_a_missing_table_is_named_with_its_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scores\.csv: no such file .* the stage `study`"):
        read_scores(tmp_path / "none")


def test_further_scores_have_a_line_each_and_come_back_with_their_rows(tmp_path: Path) -> None:
    with_two = StudyRow(**{**row("a", 0, 1.0), "further": {"msle": 0.1 + 0.2, "beyond_0.99": 0.0}})
    without, broken = row("a", 1, 2.0), row("b", 0, float("nan"))
    write_scores([broken, without, with_two], tmp_path / "study")
    assert (tmp_path / "study/further.csv").read_text().splitlines() == [
        "variant,train_seed,sampler,sample_seed,score,value",
        "a,0,heun,0,msle,0.30000000000000004",
        "a,0,heun,0,beyond_0.99,0.0",
    ]
    first, second, third = read_scores(tmp_path / "study")
    assert (first, second) == (with_two, without)
    assert third["value"] != third["value"]


def test_without_further_scores_there_is_no_second_table(tmp_path: Path) -> None:
    write_scores([row("a", 0, 1.0)], tmp_path / "study")
    assert [file.name for file in (tmp_path / "study").iterdir()] == ["scores.csv"]


def test_a_further_score_of_no_row_is_refused(tmp_path: Path) -> None:
    write_scores([StudyRow(**{**row("a", 0, 1.0), "further": {"msle": 0.5}})], tmp_path / "study")
    text = (tmp_path / "study/further.csv").read_text()
    (tmp_path / "study/further.csv").write_text(text.replace("a,0", "a,3"))
    with pytest.raises(InputError, match=r"further\.csv: scores\.csv has no line for a, 3, heun, 0"):
        read_scores(tmp_path / "study")
