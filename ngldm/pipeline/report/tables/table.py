"""A table: what it is called, its columns and rows, and its cells as text with aligned digits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ngldm.io.files import write_csv
from ngldm.pipeline.report.tables.digits import OF_ERROR, UNKNOWN, Measured, Padded, aligned, digits

Row = Mapping[str, object]
# Of the width of a digit and of a point, so that what is left out takes as much room as what is there.
FIGURE_SPACE, PUNCTUATION_SPACE = "\u2007", "\u2008"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        content: text, or a number, or a number and its error, as aligned with the other cells of its column.
        sort: what the rows are sorted by; None if it is not known.
        best: whether it is to be bold.
    """

    content: str | tuple[Padded, ...]
    sort: object
    best: bool = False

    @property
    def text(self) -> str:
        """For the page: blanks stand for the digits that are not there."""
        if isinstance(self.content, str):
            return self.content
        return " ± ".join(_blank(part.before) + part.text + _blank(part.after) for part in self.content)


def _blank(text: str) -> str:
    return "".join(PUNCTUATION_SPACE if character == "." else FIGURE_SPACE for character in text)


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        name: of its files, <name>.csv and <name>.tex.
        caption: what it shows, in a sentence.
        columns: keys of the rows, in their order. The first column names the row.
        rows: a value that is None or NaN is not known.
        more: further columns, which are in the CSV alone.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    more: Sequence[str] = ()

    @cached_property
    def body(self) -> list[list[Cell]]:
        """The cells, row by row."""
        columns = [_cells([row.get(column) for row in self.rows]) for column in self.columns]
        return [list(row) for row in zip(*columns, strict=True)]

    def is_number(self, index: int) -> bool:
        """Whether the column of that number holds numbers. It is right-aligned then."""
        return any(not isinstance(row[index].content, str) for row in self.body)

    def headings(self) -> list[str]:
        return [column.replace("_", " ") for column in self.columns]


def _cells(values: Sequence[object]) -> list[Cell]:
    """The cells of a column. They are numbers if all that is known are numbers."""
    known = [value for value in values if value is not None]
    if not known or not all(isinstance(value, int | float | Measured) for value in known):
        return [Cell(UNKNOWN if value is None else str(value), value) for value in values]
    pairs = [_measured(value) for value in values]
    numbers = aligned([digits(pair.value) for pair in pairs])
    if all(pair.error is None for pair in pairs):
        return [Cell((number,), _sort(pair), pair.best) for number, pair in zip(numbers, pairs, strict=True)]
    errors = aligned([digits(pair.error, OF_ERROR) for pair in pairs])
    return [Cell(cell[:2], _sort(cell[2]), cell[2].best) for cell in zip(numbers, errors, pairs, strict=True)]


def _measured(value: object) -> Measured:
    if isinstance(value, Measured):
        return value
    return Measured(value if isinstance(value, int | float) else float("nan"))


def _sort(pair: Measured) -> float | None:
    return pair.value if pair.value == pair.value else None


def write_table_csv(table: Table, folder: Path) -> None:
    """Write <name>.csv with all digits. A figure with an error becomes two columns: the second is <column>_error."""
    names = [*table.columns, *table.more]
    with_error = [name for name in names if any(isinstance(row.get(name), Measured) for row in table.rows)]
    columns = [part for name in names for part in (name, f"{name}_error")[: 2 if name in with_error else 1]]
    rows = [dict(pair for name in names for pair in _entries(name, row.get(name))) for row in table.rows]
    write_csv(folder / f"{table.name}.csv", columns, rows)


def _entries(name: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, Measured):
        return [(name, value.value), (f"{name}_error", value.error)]
    return [(name, value)]
