"""The shards that the options of a data set mean, with the images in them."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ngldm.data.sources.pixels.square import Decoded, Settings, decode_content
from ngldm.data.sources.shards.hub import open_hub
from ngldm.data.sources.shards.records import Record, Shards
from ngldm.data.sources.shards.tars import TarShards, expand
from ngldm.io.errors import InputError
from ngldm.io.files import entry

CHUNK = 256  # records in memory at a time
PART = 16  # records that a thread decodes in one go: handing over small images one by one takes longer than decoding
PACKAGES = {"huggingface": "datasets", "webdataset": "webdataset"}
SPLIT_NUMBERS = {"train": 0, "test": 1}


class Keyed(NamedTuple):
    """A record, its number in the shard, and its key: a random number in [0, 1) that is always the same.

    The images with the smallest keys are the test images, those with the next smallest are kept as pixels.
    """

    record: Record
    number: int
    key: float


def open_splits(config: Mapping[str, object]) -> dict[str, Shards]:
    """The shards of each split: `train` and, if the data set has one, `test`.

    Args:
        config: `name` and the options of the data set (`ngldm.data.sources.names`).

    Raises:
        InputError: the package that reads them is not installed, or there are no such shards.
    """
    name = entry(config, "name", str)
    if find_spec(PACKAGES[name]) is None:
        raise InputError(f"dataset.name: {name!r} needs the package {PACKAGES[name]}: pip install 'ngldm[large]'")
    folder, image, label = Path(entry(config, "source", str)), entry(config, "image", str), config.get("label")
    if label is not None and label in (image, *image.split(";")):
        raise InputError(f"dataset.label: {label!r} is dataset.image too; without classes: null")
    if name == "huggingface":
        return dict(open_hub(config))
    found: dict[str, Shards] = {}
    for split, option in (("train", "shards"), ("test", "test_shards")):
        if config.get(option):
            names = expand(f"dataset.{option}", entry(config, option, str), folder)
            found[split] = TarShards(names, image, None if label is None else str(label))
    _require_different(found)
    return found


def _require_different(found: Mapping[str, Shards]) -> None:
    """Check that no shard is there twice: its images would count twice, or be tested on after training on them.

    Raises:
        InputError: one is.
    """
    names = {split: [_plain(name) for name in shards.names] for split, shards in found.items()}
    for split, option in (("train", "shards"), ("test", "test_shards")):
        if twice := next((name for name, count in Counter(names.get(split, ())).items() if count > 1), None):
            raise InputError(f"dataset.{option}: {twice} is named twice")
    if both := sorted({*names["train"]} & {*names.get("test", ())}):
        raise InputError(f"dataset.test_shards: {both[0]} is one of dataset.shards too; test on other images")


def _plain(name: str) -> str:
    return name if "://" in name else os.path.normpath(name)


def settings_of(config: Mapping[str, object]) -> Settings:
    """How the files of a data set become images."""
    return Settings(*(entry(config, key, int) for key in ("size", "channels", "min_side")))


def keyed(records: Iterator[Record], seed: int, split: str, shard: int) -> Iterator[Keyed]:
    """The records of a shard with their keys, which depend on the seed, the split, and the numbers alone."""
    draws = np.random.default_rng([seed, SPLIT_NUMBERS[split], shard])
    for number, record in enumerate(records):
        yield Keyed(record, number, draws.random())


def decoded(
    records: Iterator[Keyed], settings: Settings, pool: ThreadPoolExecutor, done: Callable[[int], None]
) -> Iterator[tuple[Keyed, Decoded]]:
    """Each record and its image, or why there is none; in order, a chunk in memory at a time.

    Args:
        done: called with the number of records of each chunk.
    """

    def decode(part: Sequence[Keyed]) -> list[Decoded]:
        return [decode_content(one.record.content, one.record.name, settings) for one in part]

    while chunk := list(islice(records, CHUNK)):
        parts = [chunk[first : first + PART] for first in range(0, len(chunk), PART)]
        yield from zip(chunk, chain.from_iterable(pool.map(decode, parts)), strict=True)
        done(len(chunk))
