"""shards.json: written, read, and what has changed since is noticed."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ngldm.data.sources.registry import make_dataset
from ngldm.data.sources.shards.manifest import describe_shards, read_manifest
from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file


@pytest.fixture
def folder(shards, tmp_path: Path) -> Path:
    shards.write(20, 30, 10)
    make_dataset(shards.options(), tmp_path / "data", tmp_path / "raw")
    return tmp_path / "data"


def images_of(folder: Path) -> list[tuple[int, np.ndarray]]:
    """(number of the image, pixels) of all training images, by the manifest."""
    manifest, found = read_manifest(folder), []
    assert manifest is not None
    shards = manifest.open_training()
    with ThreadPoolExecutor(2) as pool:
        for shard in manifest.train:
            for one, image in manifest.training_images(shards, shard, pool, lambda count: None):
                found.append((int(one.record.name.split()[-1]), image.image))
    return found


def test_it_names_the_shards_with_counts_sizes_and_hashes(folder: Path, shards) -> None:
    manifest = read_manifest(folder)
    assert manifest is not None
    assert [(shard.number, shard.images) for shard in manifest.train] == [(0, 20), (1, 30), (2, 10)]
    for shard in manifest.train:
        assert shard.size == Path(shard.name).stat().st_size
        assert shard.sha256 == sha256_file(Path(shard.name))
    assert json.loads((folder / "shards.json").read_text())["images"] == 54
    assert describe_shards(folder)[0].startswith("training shards: 3 with 60 images, 0.1")


def test_training_images_are_all_but_those_of_the_test_split(folder: Path, shards) -> None:
    found = images_of(folder)
    tests = {image.tobytes() for image in np.load(folder / "test.npy")}
    assert len(tests) == 6
    assert [number for number, _ in found] == [n for n in range(60) if shards.pixels(n).tobytes() not in tests]
    for number, image in found:
        np.testing.assert_array_equal(image, shards.pixels(number))


@pytest.mark.parametrize("change", ["one byte", "cut short", "another order"])
def test_a_shard_that_has_changed_is_named(folder: Path, shards, change: str) -> None:
    path = shards.folder / "train-001.tar"
    content = path.read_bytes()
    if change == "one byte":
        path.write_bytes(content[:600] + bytes([content[600] ^ 1]) + content[601:])
    elif change == "cut short":
        path.write_bytes(content[:5000])
    else:
        path.write_bytes(shards.tar(dict(reversed(shards.samples(20, 30).items()))))
    with pytest.raises(InputError, match=r"train-001.tar: .*(has changed since the stage `download`|run it again)"):
        images_of(folder)


def test_shards_that_are_gone_are_named(folder: Path, shards) -> None:
    (shards.folder / "train-001.tar").unlink()
    with pytest.raises(InputError, match=r"1 of 3 shards do not exist, the first is .*train-001.tar"):
        images_of(folder)


def test_a_data_set_kept_as_pixels_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    assert describe_shards(tmp_path) == []


def test_a_damaged_manifest_is_named(folder: Path) -> None:
    path = folder / "shards.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "train": [{"number": 0}]}))
    with pytest.raises(InputError, match=r"shards.json: damaged .*stage `download`"):
        read_manifest(folder)
