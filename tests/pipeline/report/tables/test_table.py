"""A table's cells, and its CSV, read by pandas."""

import math
from pathlib import Path

import pandas
import pytest

from ngldm.pipeline.report.tables.digits import Measured
from ngldm.pipeline.report.tables.table import Table, write_table_csv

ROWS = [
    {"noise": "gaussian", "calls": 5, "fd": Measured(110.5, 3.25), "kid": 0.125, "other": "x", "few": None},
    {
        "noise": "laplace, b=1",
        "calls": 50,
        "fd": Measured(9.25, 0.5, best=True),
        "kid": None,
        "other": None,
        "few": 2.0,
    },
]
TABLE = Table("t", "A caption", ("noise", "calls", "fd", "kid", "other"), ROWS, more=("few",))


def test_digits_are_aligned_within_a_column() -> None:
    texts = [[cell.text for cell in row] for row in TABLE.body]
    bare = [
        ["".join(text.split()) for text in row] for row in texts
    ]  # split() also takes the spaces of a digit's width
    assert bare == [["gaussian", "5", "110.5±3.2", "0.1250", "x"], ["laplace,b=1", "50", "9.250±0.50", "-", "-"]]
    for column in (1, 2, 3):
        assert len({len(row[column]) for row in texts}) == 1
    assert {row[2].index(".") if "." in row[2] else -1 for row in texts} == {3}
    assert [TABLE.is_number(i) for i in range(5)] == [False, True, True, True, False]
    assert [[cell.best for cell in row] for row in TABLE.body] == [[False] * 5, [False, False, True, False, False]]


def test_what_is_not_known_is_sorted_as_such() -> None:
    assert [row[3].sort for row in TABLE.body] == [0.125, None]
    (cell,) = Table("t", "", ("a",), [{"a": math.nan}]).body[0]
    assert (cell.text, cell.sort) == ("-", None)


def test_the_csv_has_all_digits_and_the_errors_in_columns_of_their_own(tmp_path: Path) -> None:
    third = 1.0 / 3.0
    rows = [*ROWS, {**ROWS[0], "noise": 'say "no"', "fd": Measured(third, None)}]
    write_table_csv(Table("t", "", TABLE.columns, rows, TABLE.more), tmp_path)
    found = pandas.read_csv(tmp_path / "t.csv")
    assert list(found.columns) == ["noise", "calls", "fd", "fd_error", "kid", "other", "few"]
    assert found["noise"].tolist() == ["gaussian", "laplace, b=1", 'say "no"']
    assert found["fd"].tolist() == [110.5, 9.25, third]
    assert found["fd_error"].tolist()[:2] == [3.25, 0.5]
    assert found["few"].tolist()[1] == pytest.approx(2.0)
    assert found[["kid", "few"]].isna().to_numpy().tolist() == [[False, True], [True, False], [False, True]]
    assert math.isnan(found["fd_error"][2])


def test_headings_have_no_underscores() -> None:
    assert Table("t", "", ("network_calls",), []).headings() == ["network calls"]
    assert Table("t", "", ("network_calls",), []).body == []
