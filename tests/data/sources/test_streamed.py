"""Data sets in shards: what is kept of them as pixels, and what damaged shards and images do."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ngldm.data.dataset import Dataset
from ngldm.data.sources.registry import make_dataset
from ngldm.data.sources.streamed import huggingface, streamed, webdataset
from ngldm.io.errors import InputError


def make(options: dict[str, object], tmp_path: Path) -> Dataset:
    return make_dataset(options, tmp_path / "data", tmp_path / "raw")


def numbers(shards, images: np.ndarray, most: int = 60) -> list[int]:
    """Which images these are."""
    number = {shards.pixels(n).tobytes(): n for n in range(most)}
    return [number[image.tobytes()] for image in images]


def skipped(tmp_path: Path) -> list[tuple[str, str]]:
    with (tmp_path / "data" / "skipped.csv").open() as file:
        return [(Path(row["name"].split(":")[0]).name, row["reason"]) for row in csv.DictReader(file)]


def test_a_sample_of_the_pixels_is_kept_with_its_labels(shards, tmp_path: Path) -> None:
    shards.write(20, 30, 10)
    data = make(shards.options(), tmp_path)
    train, test = numbers(shards, data.train), numbers(shards, data.test)
    assert (len(train), len(test), data.num_train) == (10, 6, 54)
    assert not set(train) & set(test)
    assert data.train_labels.tolist() == [number % 3 for number in train]
    assert data.test_labels.tolist() == [number % 3 for number in test]
    assert data.name == "shards"
    assert skipped(tmp_path) == []


def test_all_pixels_are_kept_if_that_is_asked_for(shards, tmp_path: Path) -> None:
    """With the test split that a sample would have, and without a manifest: the arrays are the data set."""
    shards.write(20, 30, 10)
    sample = make(shards.options(), tmp_path / "a")
    whole = make(shards.options(keep_pixels=True, keep_images=None), tmp_path / "b")
    train = numbers(shards, whole.train)
    assert train == sorted(set(range(60)) - set(numbers(shards, sample.test)))
    assert whole.train_labels.tolist() == [number % 3 for number in train]
    np.testing.assert_array_equal(whole.test, sample.test)
    assert (whole.total, whole.num_train) == (None, 54)
    assert not (tmp_path / "b" / "data" / "shards.json").exists()


def test_the_sample_is_random_and_follows_from_the_seed(shards, tmp_path: Path) -> None:
    """Over 30 seeds each of the three shards of 20 images has a third of the sample, within five deviations."""
    shards.write(20, 20, 20)
    counts, sets = np.zeros(3), set()
    for seed in range(30):
        chosen = numbers(shards, make(shards.options(seed=seed), tmp_path / str(seed)).train)
        counts += np.bincount(np.array(chosen) // 20, minlength=3)
        sets.add(tuple(chosen))
    assert len(sets) == 30
    assert (abs(counts - 100.0) < 5 * (300 * 2 / 9) ** 0.5).all()
    again = numbers(shards, make(shards.options(seed=3), tmp_path / "again").train)
    assert tuple(again) in sets


@pytest.mark.parametrize("most", [4, 8, 100, None])
def test_test_images_come_from_shards_of_their_own(shards, tmp_path: Path, most: int | None) -> None:
    shards.write(20, 30, 10)
    shards.write(8, stem="test", first=60)
    data = make(shards.options(test_shards="test-000.tar", test_size=most), tmp_path)
    test = numbers(shards, data.test, 68)
    assert len(test) == min(8, most or 8)
    assert set(test) <= set(range(60, 68))
    assert data.num_train == 60
    assert json.loads((tmp_path / "data" / "shards.json").read_text())["test_up_to"] == -1.0


def test_a_truncated_shard_stops_the_work_or_is_left_out_as_asked(shards, tmp_path: Path) -> None:
    path = shards.write(20, 30, 10) / "train-001.tar"
    path.write_bytes(path.read_bytes()[: 2 * 1024 * 25])
    with pytest.raises(InputError, match=r"train-001.tar: damaged \(truncated.*dataset.on_error: skip"):
        make(shards.options(), tmp_path)
    assert not (tmp_path / "data").exists()
    data = make(shards.options(on_error="skip", keep_images=100), tmp_path)
    assert skipped(tmp_path) == [("train-001.tar", "damaged")]
    assert sorted(numbers(shards, data.train) + numbers(shards, data.test)) == [*range(20), *range(50, 60)]
    content = json.loads((tmp_path / "data" / "shards.json").read_text())
    assert [shard["number"] for shard in content["train"]] == [0, 2]


def test_a_damaged_image_stops_the_work_or_is_left_out_as_asked(shards, tmp_path: Path) -> None:
    folder = shards.write(20, 30, 10)
    files = {**shards.samples(20, 30), "000033.png": b"no image"}
    (folder / "train-001.tar").write_bytes(shards.tar(files))
    with pytest.raises(InputError, match=r"train-001.tar.*000033: damaged .*dataset.on_error: skip"):
        make(shards.options(keep_images=100), tmp_path)
    data = make(shards.options(on_error="skip", keep_images=100), tmp_path)
    assert len(data.train) + len(data.test) == 59
    assert 33 not in numbers(shards, data.train)
    assert skipped(tmp_path) == [("train-001.tar", "damaged")]


def test_names_of_classes_are_numbered_in_their_order(shards, tmp_path: Path) -> None:
    shards.folder.mkdir()
    names = ["dog", "cat", "10", "eel"]
    files = {f"{n}.png": shards.png(n) for n in range(20)} | {f"{n}.cls": names[n % 4].encode() for n in range(20)}
    (shards.folder / "a.tar").write_bytes(shards.tar(dict(sorted(files.items()))))
    data = make(shards.options(shards="a.tar", keep_images=100), tmp_path)
    for part, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        expected = [["10", "cat", "dog", "eel"].index(names[number % 4]) for number in numbers(shards, part)]
        assert labels.tolist() == expected


@pytest.mark.parametrize("label", [str(2**63), "1000000"])
def test_a_number_that_no_class_has_is_refused(shards, tmp_path: Path, label: str) -> None:
    shards.folder.mkdir()
    files = {**shards.samples(0, 8), "000008.png": shards.png(8), "000008.cls": label.encode()}
    (shards.folder / "a.tar").write_bytes(shards.tar(files))
    with pytest.raises(
        InputError, match=f"^dataset.label: {label} is no class from 0 to 999999; without classes: null$"
    ):
        make(shards.options(shards="a.tar", test_size=2), tmp_path)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_images_are_counted(shards, tmp_path: Path, count: int) -> None:
    shards.folder.mkdir()
    (shards.folder / "a.tar").write_bytes(shards.tar(shards.samples(0, count)))
    with pytest.raises(InputError, match=r"[01] usable images for the (train|test) split, at least 2 are needed"):
        make(shards.options(shards="a.tar", test_size=2), tmp_path)


def test_shards_of_a_web_server(shards, tmp_path: Path, server) -> None:
    for number, path in enumerate(sorted(shards.write(20, 30, 10).iterdir())):
        server.files[f"train-{number:03d}.tar"] = path.read_bytes()
    local = make(shards.options(), tmp_path / "a")
    remote = make(shards.options(shards=server.url + "train-{000..002}.tar"), tmp_path / "b")
    np.testing.assert_array_equal(remote.train, local.train)
    assert server.asked == [f"train-{number:03d}.tar" for number in range(3)]  # each once


def test_each_name_has_a_sentence_for_the_list_of_data_sets() -> None:
    assert streamed.__doc__
    for source, word in ((huggingface, "Hugging Face"), (webdataset, "WebDataset")):
        assert word in (source.__doc__ or "").splitlines()[0]
