"""The table of scores: which values are best, and how cells are written."""

from ngldm.pipeline.report.table import COLUMNS, ScoreRow, best_values, markdown_table, summary_rows


def row(noise: str, sampler: str, value: float) -> ScoreRow:
    return ScoreRow(
        noise=noise,
        sampler=sampler,
        method="heun",
        network_calls=25,
        metric="fid",
        value=value,
        spread=0.123456,
        kid=0.5,
        precision=1.0,
        recall=0.0,
        num_samples=1000,
        extractor="inception",
        train_seconds=1.0,
        sample_seconds=2.0,
    )


ROWS = [row("a", "s", 12.34567), row("b", "s", 3.0), row("a", "t", 4.0), row("b", "t", 5.0)]


def test_the_best_value_of_a_sampler_is_its_lowest() -> None:
    assert best_values(ROWS) == {"s": 3.0, "t": 4.0}


def test_the_terminals_table_marks_the_best_of_each_sampler() -> None:
    values = [cells[3] for cells in summary_rows(ROWS)]
    assert values == ["12.35", "[bold]3[/]", "[bold]4[/]", "5"]
    assert summary_rows(ROWS)[0][4] == "0.12"


def test_markdown_has_a_line_for_each_row_and_the_columns_asked_for() -> None:
    text = markdown_table(ROWS[:2], ("noise", "value", "num_samples"))
    assert text.splitlines() == [
        "| noise | value | num_samples |",
        "| --- | --- | --- |",
        "| a | 12.35 | 1000 |",
        "| b | 3 | 1000 |",
    ]
    assert markdown_table(ROWS, COLUMNS).count("\n") == 6
