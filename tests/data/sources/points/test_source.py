"""`dataset=points` as a folder: splits, seeds, and tables that cannot be used."""

import numpy as np
import pytest

from ngldm.data.dataset import open_dataset
from ngldm.data.sources.registry import make_dataset
from ngldm.io.errors import InputError

LAW = {"dim": 2, "tails": "student_t", "df": 3.0, "shared": True, "weights": [0.7, 0.3], "radius": 4.0, "scale": 0.5}
SYNTHETIC = {"name": "points", "source": "-", "seed": 0, "transform": "none", "law": LAW}


@pytest.fixture
def made(tmp_path):
    def make(**options):
        return make_dataset({**SYNTHETIC, **options}, tmp_path / "dataset", tmp_path / "raw")

    return make


@pytest.fixture
def table(tmp_path, made):
    def make(values, **options):
        np.save(tmp_path / "table.npy", values)
        return made(**{"source": str(tmp_path / "table.npy"), "law": None, "test_size": 60, **options})

    return make


def test_a_law_gives_both_splits_as_float32(made, tmp_path):
    made(train_size=300, test_size=200, transform="soft_log")
    data = open_dataset(tmp_path / "dataset")
    assert (data.train.shape, data.test.shape, data.train.dtype) == ((300, 2), (200, 2), np.float32)
    assert (data.item_shape, data.num_classes, data.encoding) == ((2,), 2, {"transform": "soft_log"})
    np.testing.assert_allclose(data.points.centres, [[4.0, 0.0], [-4.0, 0.0]], atol=1e-12)


def test_draws_follow_from_the_seed(made):
    first = np.array(made(train_size=100, test_size=100).train)
    assert np.array_equal(first, made(train_size=100, test_size=100).train)
    other = made(train_size=100, test_size=100, seed=1)
    assert not np.array_equal(first, other.train)
    assert not np.array_equal(other.train, other.test)


def test_a_tables_rows_are_split(table):
    values = np.random.default_rng(0).normal(size=(200, 3))
    data = table(values)
    both = np.concatenate([data.train, data.test])
    assert (len(data.train), len(data.test)) == (140, 60)
    order = np.lexsort(both.T)
    np.testing.assert_array_equal(both[order], values.astype(np.float32)[np.lexsort(values.astype(np.float32).T)])
    assert data.encoding == {"transform": "none"}


def with_cell(row, column, value):
    values = np.random.default_rng(0).normal(size=(200, 3))
    values[row, column] = value
    return values


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (with_cell(17, 1, np.nan), r"table.npy: row 17, column '1': nan"),
        (with_cell(3, 2, 1e300), r"table.npy: row 3, column '2': inf"),
        (with_cell(slice(None), 0, 7.0), r"table.npy: column '0' is constant"),
        (np.zeros((30, 2)), r"table.npy: 30 rows"),
        (np.random.default_rng(0).normal(size=(100, 2)), r"table.npy \(train\): 40 rows"),
        (np.random.default_rng(0).normal(size=(60, 2)), r"dataset.test_size: 60 must be .* below the 60 rows"),
    ],
)
def test_tables_that_cannot_be_used_are_named(table, values, named):
    with pytest.raises(InputError, match=named):
        table(values)


@pytest.mark.parametrize("options", [{"test_size": 100}, {"train_size": 100, "test_size": 100, "law": None}])
def test_train_size_belongs_to_a_law(made, options):
    with pytest.raises(InputError, match="train_size: needed with a law, and only there"):
        made(**options)


def test_a_damaged_description_is_refused(made, tmp_path):
    made(train_size=100, test_size=100)
    (tmp_path / "dataset" / "points.json").write_text('{"transform": "none", "columns": ["x1"], "centres": []}')
    with pytest.raises(InputError, match="2 columns, the names are 1"):
        open_dataset(tmp_path / "dataset")
