"""The study's summary: means over seeds, the spread between trainings, the ratio to the Gaussian."""

import math
from pathlib import Path

import pytest
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.pipeline.report.study import COLUMNS, read_scores, study_table, summarise
from ngldm.pipeline.report.table import Row, show

SCORES = """variant,train_seed,sampler,sample_seed,noise,network_calls,value,outliers,seconds
cosine,0,heun_10,0,laplace,19,3.0,0.1,1.0
cosine,0,heun_10,1,laplace,19,5.0,0.3,1.0
cosine,1,heun_10,0,laplace,19,6.0,0.2,1.0
cosine,1,heun_10,1,laplace,19,8.0,0.2,1.0
cosine,0,dpmpp_20,0,laplace,20,4.5,0.0,1.0
plain,0,dpmpp_20,0,gaussian,20,2.5,0.0,1.0
plain,0,heun_10,0,gaussian,19,2.0,0.0,1.0
"""


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    (tmp_path / "scores.csv").write_text(SCORES)
    return read_scores(tmp_path / "scores.csv")


def test_numbers_are_read_as_numbers(rows: list[Row]) -> None:
    first = rows[0]
    assert (first["train_seed"], first["sample_seed"], first["network_calls"]) == (0, 0, 19)
    assert (first["value"], first["outliers"], first["variant"]) == (3.0, 0.1, "cosine")


def test_missing_scores_are_named_with_their_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scores\.csv.*the stage `study`"):
        read_scores(tmp_path / "scores.csv")


def test_mean_and_spread_are_over_all_scores_and_the_error_over_trainings(rows: list[Row]) -> None:
    found = {(row["variant"], row["sampler"]): row for row in summarise(rows)}["cosine", "heun_10"]
    values = stats.describe([3.0, 5.0, 6.0, 8.0])
    assert found["mean"] == pytest.approx(values.mean)
    assert found["std"] == pytest.approx(math.sqrt(values.variance))
    assert found["std_error"] == pytest.approx(stats.sem([4.0, 7.0]))  # means of the two trainings
    assert found["outliers"] == pytest.approx(0.2)
    assert (found["seeds"], found["network_calls"], found["noise"]) == ("2x2", 19, "laplace")


def test_one_score_has_no_spread(rows: list[Row]) -> None:
    found = {(row["variant"], row["sampler"]): row for row in summarise(rows)}["cosine", "dpmpp_20"]
    assert (found["mean"], found["seeds"]) == (4.5, "1x1")
    assert math.isnan(found["std"])
    assert math.isnan(found["std_error"])


def test_the_best_sampler_of_a_variant_comes_first_and_variants_keep_their_order(rows: list[Row]) -> None:
    order = [("cosine", "dpmpp_20"), ("cosine", "heun_10"), ("plain", "heun_10"), ("plain", "dpmpp_20")]
    assert [(row["variant"], row["sampler"]) for row in summarise(rows)] == order


def test_the_ratio_is_to_the_best_gaussian_mean_where_there_is_one(rows: list[Row]) -> None:
    assert [row["ratio"] for row in summarise(rows)] == [4.5 / 2, 5.5 / 2, 1.0, 1.25]
    assert all(math.isnan(row["ratio"]) for row in summarise(rows[:5]))


def test_the_markdown_table_has_a_line_for_each_variant_and_sampler(rows: list[Row]) -> None:
    header, _, *lines = study_table(summarise(rows), show).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(COLUMNS)
    assert [line.split("|")[1].strip() for line in lines] == ["cosine", "cosine", "plain", "plain"]
    assert lines[0].split("|")[COLUMNS.index("mean") + 1].strip() == "4.5"
