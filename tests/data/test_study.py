"""The study's scores, on disk: what is written is what is read, in an order of its own."""

from pathlib import Path

import pytest

from ngldm.data.study import StudyRow, read_scores, write_scores
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
