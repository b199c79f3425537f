"""The registry of data sets: what `dataset.name` can choose."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ngldm.data.dataset import Dataset, Progress, Start, finish_dataset, open_dataset, write_arrays
from ngldm.data.sources.bundled.digits import digits
from ngldm.data.sources.bundled.photographs import photographs
from ngldm.data.sources.downloads import cifar10, fashion_mnist
from ngldm.data.sources.image_folder import image_folder
from ngldm.data.sources.long_tail import long_tail
from ngldm.data.sources.names import check_source
from ngldm.data.sources.points.source import points
from ngldm.data.sources.streamed import huggingface, webdataset
from ngldm.io.files import atomic_directory, entry

# Called with config, folder, raw, start: writes train.npy, test.npy and their labels into `folder`, keeps downloads in
# `raw`, and returns the data set's name.
Source = Callable[[Mapping[str, object], Path, Path, Start], str]


def _digits(config: Mapping[str, object], folder: Path, raw: Path, start: Start) -> str:
    """1797 images, 8x8 grey, ten classes: scikit-learn's, nothing to download."""
    write_arrays(digits(config), folder)
    return "digits"


def _photographs(config: Mapping[str, object], folder: Path, raw: Path, start: Start) -> str:
    """Grey crops of scikit-learn's two photographs, by picture and band: nothing to download."""
    write_arrays(photographs(config), folder)
    return "photographs"


SOURCES: dict[str, Source] = {
    "digits": _digits,
    "cifar10": cifar10,
    "fashion_mnist": fashion_mnist,
    "image_folder": image_folder,
    "photographs": _photographs,
    "huggingface": huggingface,
    "webdataset": webdataset,
    "points": points,
}


def _silent(total: int) -> Progress:
    return lambda count: None


def make_dataset(config: Mapping[str, object], path: Path, raw: Path, start: Start = _silent) -> Dataset:
    """Make or download the data set that `config["name"]` names, as the folder `path`, whole or not at all.

    Args:
        config: `name`, and the options of that data set (params.yaml's section `dataset`).
        raw: folder that keeps downloads, so that each is made once.
        start: called with the amount of work, gives the function that is told how much more of it is done.

    Raises:
        InputError: an unknown name, an option that is missing or not the data set's own, a value out of range, a
            download or a file that is not what it should be.
    """
    chosen = entry(config, "name", str)
    check_source(chosen, {key: config[key] for key in config if key not in ("name", "source", "seed")})
    with atomic_directory(path) as folder:
        made = SOURCES[chosen](config, folder, raw, start)
        if config.get("long_tail") is not None:
            long_tail(folder, entry(config, "long_tail", float), entry(config, "seed", int))
        finish_dataset(made, folder)
    return open_dataset(path)
