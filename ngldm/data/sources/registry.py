"""Where data sets come from: the registry of those that `dataset.name` can choose."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ngldm.data.dataset import Dataset, finish_dataset, open_dataset, write_arrays
from ngldm.data.sources.digits import digits
from ngldm.data.sources.downloads import cifar10, fashion_mnist
from ngldm.data.sources.image_folder import image_folder
from ngldm.data.sources.names import check_source
from ngldm.io.files import atomic_directory

Progress = Callable[[int], None]

# Writes train.npy, test.npy and their labels into a folder and returns the data set's name.
Source = Callable[[Mapping[str, Any], Path, Path, Callable[[int], Progress]], str]


def _digits(config: Mapping[str, Any], folder: Path, raw: Path, start: Callable[[int], Progress]) -> str:
    """1797 images, 8x8 grey, ten classes: scikit-learn's, nothing to download."""
    write_arrays(digits(config), folder)
    return "digits"


SOURCES: dict[str, Source] = {
    "digits": _digits,
    "cifar10": cifar10,
    "fashion_mnist": fashion_mnist,
    "image_folder": image_folder,
}


def _silent(total: int) -> Progress:
    return lambda count: None


def make_dataset(
    config: Mapping[str, Any], path: Path, raw: Path, start: Callable[[int], Progress] = _silent
) -> Dataset:
    """Make or download the data set that `config["name"]` names at `path`, whole or not at all.

    Args:
        raw: folder that keeps downloads, so that they happen once.
        start: called with the amount of work, gives the function that is told how much of it is done.

    Raises:
        InputError: an unknown name, an option that is missing or not the data set's own, a value out of range,
            a download or a file that is not what it should be.
    """
    check_source(config["name"], {key: config[key] for key in config if key not in ("name", "source", "seed")})
    with atomic_directory(path) as folder:
        name = SOURCES[config["name"]](config, folder, raw, start)
        finish_dataset(name, folder)
    return open_dataset(path)
