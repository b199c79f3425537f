"""Shards by the options of a data set, keys that are always the same, images in order."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ngldm.data.sources.pixels.skips import Skip
from ngldm.data.sources.shards import opening
from ngldm.data.sources.shards.opening import decoded, keyed, open_splits, settings_of
from ngldm.data.sources.shards.records import Record, Tally
from ngldm.io.errors import InputError


def test_splits_are_those_that_the_options_name(shards) -> None:
    shards.write(3, 4, 5)
    shards.write(2, stem="test", first=12)
    assert set(open_splits(shards.options())) == {"train"}
    found = open_splits(shards.options(test_shards="test-000.tar"))
    assert [len(part.names) for part in found.values()] == [3, 1]
    assert [record.content for record in found["test"].records(0, Tally())] == [shards.png(12), shards.png(13)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shards": "train-{000,001,000}.tar"}, r"^dataset.shards: .*train-000.tar is named twice$"),
        ({"shards": "{train,./train}-000.tar"}, r"^dataset.shards: .*train-000.tar is named twice$"),
        (
            {"test_shards": "train-002.tar"},
            r"^dataset.test_shards: .*train-002.tar is one of dataset.shards too; test on",
        ),
        ({"shards": "https://a.example/{1,1}.tar"}, r"^dataset.shards: https://a.example/1.tar is named twice$"),
    ],
)
def test_no_shard_is_there_twice(shards, changed: dict[str, object], message: str) -> None:
    shards.write(3, 4, 5)
    with pytest.raises(InputError, match=message):
        open_splits(shards.options(**changed))


@pytest.mark.parametrize("name", ["webdataset", "huggingface"])
def test_an_image_is_not_its_own_label(shards, name: str) -> None:
    shards.write(3)
    with pytest.raises(InputError, match=r"^dataset.label: 'png' is dataset.image too; without classes: null$"):
        open_splits(shards.options(name=name, image="jpg;png", label="png"))


def test_a_missing_package_is_named(shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"'webdataset' needs the package webdataset: pip install 'ngldm\[large\]'"):
        open_splits(shards.options())


def keys(count: int, seed: int, split: str, shard: int) -> list[float]:
    return [one.key for one in keyed((Record("", b"", 0) for _ in range(count)), seed, split, shard)]


def test_keys_depend_on_seed_split_and_place_alone() -> None:
    whole = keys(50, 3, "train", 7)
    assert keys(20, 3, "train", 7) == whole[:20]
    others = [keys(50, 4, "train", 7), keys(50, 3, "test", 7), keys(50, 3, "train", 8)]
    assert all(not set(other) & set(whole) for other in others)
    assert stats.kstest(np.concatenate([whole, *others]), "uniform").pvalue > 1e-3


def test_images_come_in_order_with_the_reason_where_there_is_none(shards) -> None:
    records = [Record(str(number), shards.png(number), 0) for number in range(600)]
    records[300] = Record("bad", b"no image", 0)
    seen: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        found = list(decoded(keyed(iter(records), 0, "train", 0), settings_of(shards.options()), pool, seen.append))
    assert [one.record for one, _ in found] == records
    assert sum(seen) == 600
    assert max(seen) == opening.CHUNK
    for number, (_, image) in enumerate(found):
        if number == 300:
            assert isinstance(image.image, Skip)
            assert (image.image.name, image.image.reason) == ("bad", "damaged")
        else:
            np.testing.assert_array_equal(image.image, shards.pixels(number))


def test_images_get_the_size_and_channels_of_the_options(shards, tmp_path: Path) -> None:
    options = settings_of(shards.options(size=4, channels=3))
    with ThreadPoolExecutor(1) as pool:
        records = keyed(iter([Record("", shards.png(0), 0)]), 0, "train", 0)
        ((_, image),) = decoded(records, options, pool, lambda count: None)
    assert image.image.shape == (4, 4, 3)
