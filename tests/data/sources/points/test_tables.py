"""Tables are read as pandas and numpy write them, and what is no number is named with file, row and column."""

import numpy as np
import pandas
import pytest

from ngldm.data.sources.points.tables import read_table
from ngldm.io.errors import InputError

VALUES = np.random.default_rng(0).normal(size=(60, 3))


@pytest.fixture
def written(tmp_path):
    """The same numbers in each format; the suffix chooses one."""
    frame = pandas.DataFrame(VALUES, columns=["height", "width", "weight"])
    np.save(tmp_path / "table.npy", VALUES)
    frame.to_csv(tmp_path / "table.csv", index=False)
    frame.to_parquet(tmp_path / "table.parquet")
    return lambda suffix: tmp_path / f"table.{suffix}"


@pytest.mark.parametrize("suffix", ["npy", "csv", "parquet"])
def test_a_table_comes_back(written, suffix):
    values, names = read_table(written(suffix))
    np.testing.assert_array_equal(values, VALUES)
    assert names == (["0", "1", "2"] if suffix == "npy" else ["height", "width", "weight"])


@pytest.mark.parametrize(("cell", "shown"), [("red", "'red'"), ("", "empty")])
def test_a_cell_that_is_no_number_is_named(tmp_path, cell, shown):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n3,4\n5," + cell + "\n7,8\n")
    with pytest.raises(InputError, match=rf"table.csv: row 2, column 'b': {shown}"):
        read_table(path)


def test_whole_numbers_count_as_numbers(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2.5\n3,4\n")
    np.testing.assert_array_equal(read_table(path)[0], [[1.0, 2.5], [3.0, 4.0]])


def test_a_csv_without_names_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("1,2\n3,4\n")
    with pytest.raises(InputError, match="first line holds numbers"):
        read_table(path)


@pytest.mark.parametrize("array", [np.zeros(5), np.zeros((2, 2, 2)), np.array([["a", "b"]]), np.ones((2, 2), bool)])
def test_other_arrays_are_refused(tmp_path, array):
    np.save(tmp_path / "table.npy", array)
    with pytest.raises(InputError, match=r"table.npy: holds .* points must be real numbers \(rows, columns\)"):
        read_table(tmp_path / "table.npy")


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_a_truncated_file_is_refused(written, suffix):
    path = written(suffix)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"table.{suffix}: not a whole"):
        read_table(path)


def test_unknown_formats_and_missing_files_are_refused(tmp_path):
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(InputError, match=r"format '\.xlsx'; points are read from \.npy, \.csv, \.parquet"):
        read_table(tmp_path / "table.xlsx")
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none.csv")


def test_names_of_columns_that_are_not_utf8_are_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("größe,y\n1,2\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"table\.csv: the names of the columns are not UTF-8"):
        read_table(path)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators_are_refused(tmp_path, mark):
    pandas.DataFrame(VALUES, columns=["a", "b", "c"]).to_csv(tmp_path / "table.csv", sep=mark, index=False)
    with pytest.raises(InputError, match="columns must be separated by commas"):
        read_table(tmp_path / "table.csv")
