"""The data set `points`: a table, split at random, or draws of a synthetic law."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ngldm.data.dataset import AboutPoints, Dataset, Start, write_arrays
from ngldm.data.sources.points.laws import MixtureLaw
from ngldm.data.sources.points.tables import read_table
from ngldm.io.errors import InputError
from ngldm.io.files import entry
from ngldm.io.items import Points, require_points


def points(config: Mapping[str, object], folder: Path, raw: Path, start: Start) -> str:
    """Rows of numbers instead of images: draws of a law with heavy tails, or your own .npy, .csv or .parquet.

    Writes the arrays of both splits into `folder`.

    Args:
        config: source (the table), test_size, seed and transform; with a `law` (arguments of `MixtureLaw`) also
            train_size, and the table is not read.

    Raises:
        InputError: a table or a law that cannot be used, or a split with too few rows.
    """
    dataset = _from_table(config) if config.get("law") is None else _from_law(config)
    write_arrays(dataset, folder)
    return dataset.name


def _from_law(config: Mapping[str, object]) -> Dataset:
    """Both splits are drawn from the law, each with its own generator."""
    law, seed = MixtureLaw(**entry(config, "law", dict)), entry(config, "seed", int)
    sizes = {"train": entry(config, "train_size", int), "test": entry(config, "test_size", int)}
    drawn = {
        split: law.draw(size, np.random.default_rng([seed, number]))
        for number, (split, size) in enumerate(sizes.items())
    }
    names = [f"x{column + 1}" for column in range(law.dim)]
    parts = {split: _checked(values, Path(f"dataset.law ({split})"), names) for split, (values, _) in drawn.items()}
    about = AboutPoints(entry(config, "transform", str), names, law.centres.tolist())
    return Dataset("points", parts["train"], parts["test"], drawn["train"][1], drawn["test"][1], about)


def _from_table(config: Mapping[str, object]) -> Dataset:
    """`test_size` random rows are for testing."""
    path, test_size = Path(entry(config, "source", str)), entry(config, "test_size", int)
    table, names = read_table(path)
    whole = _checked(table, path, names)
    if not 0 < test_size < len(whole):
        raise InputError(f"dataset.test_size: {test_size} must be above 0 and below the {len(whole)} rows of {path}")
    order = np.random.default_rng(entry(config, "seed", int)).permutation(len(whole))
    test, train = whole[order[:test_size]], whole[order[test_size:]]
    for split, part in (("test", test), ("train", train)):
        require_points(Path(f"{path} ({split})"), part, names)
    none = [np.zeros(len(part), np.int64) for part in (train, test)]
    about = AboutPoints(entry(config, "transform", str), names)
    return Dataset("points", train, test, none[0], none[1], about)


def _checked(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], source: Path, names: list[str]) -> Points:
    """The points as float32.

    Raises:
        InputError: see `require_points`; numbers above 3e38 count as infinite.
    """
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    require_points(source, found, names)
    return found
