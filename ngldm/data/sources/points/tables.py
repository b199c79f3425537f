"""Tables of numbers: .npy, .csv with a line of names, .parquet."""

from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ngldm.io.errors import InputError
from ngldm.io.files import require
from ngldm.io.images import NPY_FAULTS
from ngldm.io.limits import require_cells

SUFFIXES = (".npy", ".csv", ".parquet")
Cell = TypeVar("Cell")


def read_table(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """The numbers (rows, columns) of a table, and the names of its columns ("0", "1", ... in a .npy).

    Raises:
        InputError: no such file, an unknown format, a damaged file, no numbers, or a cell that is empty or no number;
            the message names row (from 0) and column.
    """
    require(path, "dataset.source")
    if path.suffix not in SUFFIXES:
        raise InputError(f"dataset.source: {path}: format {path.suffix!r}; points are read from {', '.join(SUFFIXES)}")
    return _read_npy(path) if path.suffix == ".npy" else _read_columns(path)


def _read_npy(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # it compares the header with the length of the file
    except NPY_FAULTS as error:
        raise InputError(f"{path}: not a whole .npy file of numbers ({error})") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: holds {array.dtype} of shape {array.shape}; points must be real numbers (rows, columns)"
        )
    require_cells(str(path), array.size)
    return array.astype(np.float64), [str(column) for column in range(array.shape[1])]


def _read_columns(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    import pyarrow
    from pyarrow import csv, parquet

    try:
        if path.suffix == ".parquet":  # a few bytes can mean any number of equal rows
            about = parquet.read_metadata(path)
            require_cells(str(path), about.num_rows * about.num_columns)
        table = csv.read_csv(path) if path.suffix == ".csv" else parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a whole {path.suffix} table ({error})") from error
    try:
        names = [str(name) for name in table.column_names]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the names of the columns are not UTF-8 text ({error})") from error
    if path.suffix == ".csv" and len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise InputError(f"{path}: one column {names[0]!r}; columns must be separated by commas")
    if path.suffix == ".csv" and names and all(_is_number(name) for name in names):
        raise InputError(f"{path}: the first line holds numbers; it must hold the names of the columns")
    columns = [_numbers(path, name, table.column(index).to_pylist()) for index, name in enumerate(names)]
    return np.stack(columns, axis=1) if columns else np.empty((0, 0)), names


def _numbers(path: Path, name: str, cells: list[Cell]) -> NDArray[np.float64]:
    """The cells of a column as floats. A column with one word is text as a whole, so that a number may be text too."""
    for row, cell in enumerate(cells):
        number = isinstance(cell, int | float) and not isinstance(cell, bool)
        if not number and not (isinstance(cell, str) and _is_number(cell)):
            shown = "empty" if cell in (None, "") else repr(cell)
            raise InputError(f"{path}: row {row}, column {name!r}: {shown}; all cells must be numbers")
    return np.array(cells, np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
