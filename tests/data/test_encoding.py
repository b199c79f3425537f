"""Latents encoded shard by shard: those of one array, whatever was interrupted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ngldm.data.cache.latents import Mirrored, build_cache, input_files, open_cache
from ngldm.data.cache.sharded import RowFile
from ngldm.data.cache.statistics import latent_extent
from ngldm.data.encoded import EncodedShard
from ngldm.data.encoding import Encoding
from ngldm.data.sources.registry import make_dataset
from ngldm.data.sources.shards.manifest import read_manifest
from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.autoencoder import Autoencoder

CPU = torch.device("cpu")


class Affine(Autoencoder):
    """One grey image to copies of very different scale and offset; it stops at batch `fail_at`."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.latent_shape = (3, 8, 8)
        self.scale, self.offset = (torch.tensor(v)[:, None, None] for v in ((3.0, 0.02, 40.0), (-1.5, 0.3, 500.0)))
        self.batches, self.fail_at = 0, fail_at

    def encode(self, x: Tensor) -> Tensor:
        if self.batches == self.fail_at:
            raise KeyboardInterrupt
        self.batches += 1
        return x * self.scale + self.offset


@pytest.fixture
def data(shards, tmp_path: Path) -> Path:
    shards.write(20, 30, 10)
    make_dataset(shards.options(), tmp_path / "data", tmp_path / "raw")
    return tmp_path / "data"


def encoding(data: Path, work: Path, model: Affine | None = None, batch_size: int = 8, flips: bool = False) -> Encoding:
    manifest = read_manifest(data)
    assert manifest is not None
    return Encoding(manifest, model or Affine(), work, batch_size, CPU, flips)


def encode_all(work: Encoding) -> None:
    assert len(list(work.encode_all())) == len(work.manifest.train)


def encode(data: Path, folder: Path, out: Path, dtype: str = "float32") -> None:
    work = encoding(data, folder)
    encode_all(work)
    work.finish(np.load(data / "test.npy"), out, dtype)


@pytest.fixture
def plain(data: Path, shards, tmp_path: Path):
    """The cache of the same images as one array."""
    tests = {image.tobytes() for image in np.load(data / "test.npy")}
    train = np.stack([image for image in map(shards.pixels, range(60)) if image.tobytes() not in tests])
    build_cache(Affine(), train, np.load(data / "test.npy"), tmp_path / "plain")
    return open_cache(tmp_path / "plain")


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-7), ("float16", 2.0**-11)])
def test_the_latents_are_those_of_one_array(data: Path, plain, tmp_path: Path, dtype: str, rounding: float) -> None:
    """Up to the rounding of the type; the mean and deviation have 500 deviations of offset to lose digits on."""
    encode(data, tmp_path / "work", tmp_path / "out", dtype)
    cache = open_cache(tmp_path / "out")
    assert cache.train.shape == plain.train.shape == (54, 3, 8, 8)
    np.testing.assert_allclose(cache.statistics.mean, plain.statistics.mean, rtol=2e-7)
    np.testing.assert_allclose(cache.statistics.std, plain.statistics.std, rtol=2e-7)
    np.testing.assert_allclose(cache.train[:], plain.train[:], rtol=rounding, atol=1e-5)
    np.testing.assert_allclose(cache.test, plain.test, atol=1e-5)
    assert np.load(tmp_path / "out" / "train" / "000001.npy").dtype == dtype


def test_the_extent_is_kept_and_is_that_of_the_rows(data: Path, tmp_path: Path) -> None:
    encode(data, tmp_path / "work", tmp_path / "out", "float16")
    cache = open_cache(tmp_path / "out")
    assert cache.known_extent is not None
    expected = latent_extent(cache.train[:])
    for key, value in vars(cache.extent()).items():
        torch.testing.assert_close(value, getattr(expected, key), rtol=1e-6, atol=1e-6)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fail_at", [0, 2, 4, 6])
def test_stopped_in_a_shard_only_that_one_is_begun_again(data: Path, tmp_path: Path, fail_at: int) -> None:
    """Shards of about 20, 30 and 10 images in batches of 8, so that batch 4 is in the second."""
    encode(data, tmp_path / "whole", tmp_path / "expected", "float16")
    first, second = Affine(fail_at), Affine()
    work = encoding(data, tmp_path / "work", first)
    with pytest.raises(KeyboardInterrupt):
        encode_all(work)
    done = [work.is_done(shard) for shard in work.manifest.train]
    work = encoding(data, tmp_path / "work", second)
    encode_all(work)
    work.finish(np.load(data / "test.npy"), tmp_path / "out", "float16")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "expected")
    notes = [json.loads((tmp_path / "whole" / f"{n:06d}.json").read_text()) for n in range(3)]
    batches = [-(-note["rows"] // 8) for note in notes]
    again = sum(count for count, was_done in zip(batches, done, strict=True) if not was_done)
    assert second.batches == again + 1  # and the test images


def test_stopped_while_finishing_it_goes_on_there(data: Path, tmp_path: Path, monkeypatch) -> None:
    encode(data, tmp_path / "whole", tmp_path / "expected")
    seen = []
    original = EncodedShard.standardise

    def stops(shard: EncodedShard, statistics, dtype: str) -> RowFile:
        seen.append(shard)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(shard, statistics, dtype)

    with monkeypatch.context() as patch:
        patch.setattr(EncodedShard, "standardise", stops)
        with pytest.raises(KeyboardInterrupt):
            encode(data, tmp_path / "work", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    model = Affine()
    work = encoding(data, tmp_path / "work", model)
    encode_all(work)
    assert model.batches == 0
    work.finish(np.load(data / "test.npy"), tmp_path / "out", "float32")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "expected")


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])


DAMAGES = {
    "a bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-8]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + bytes(8)),
    "of another shard": lambda path: path.write_bytes(path.with_name(f"000000{path.suffix}").read_bytes()),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["000001.npy", "000001.json", "cache/train/000001.npy"])
def test_a_kept_shard_that_has_changed_is_encoded_again_and_the_others_are_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, damage: str
) -> None:
    encode(data, tmp_path / "whole", tmp_path / "expected", "float16")
    work = encoding(data, tmp_path / "work")
    encode_all(work)
    if "cache" in file:  # stopped when all are standardised
        with monkeypatch.context() as patch:
            patch.setattr("ngldm.data.encoding.write_index", lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                work.finish(np.load(data / "test.npy"), tmp_path / "out", "float16")
    DAMAGES[damage](tmp_path / "work" / file)
    model, told = Affine(), []
    work = encoding(data, tmp_path / "work", model)
    assert [work.is_done(shard) for shard in work.manifest.train] == [True, False, True]
    assert list(work.encode_all(told.append)) == [1, 2, 3]
    rows = [work.encoded(shard).rows for shard in work.manifest.train]
    assert model.batches == -(-rows[1] // 8)
    work.finish(np.load(data / "test.npy"), tmp_path / "out", "float16")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "expected")


def test_shards_encoded_in_another_order_by_others_are_the_same(data: Path, tmp_path: Path) -> None:
    encode(data, tmp_path / "whole", tmp_path / "expected")
    for number in (2, 0, 1):
        work = encoding(data, tmp_path / "work")
        work.encode_shard(work.manifest.train[number])
    work.finish(np.load(data / "test.npy"), tmp_path / "out", "float32")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "expected")


TOGETHER = f"""
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_encoding import Affine, encoding
from ngldm.io import processes

data, work, out = map(Path, sys.argv[1:])
processes.start(60.0)
model, told = Affine(), []
shared = encoding(data, work, model)
done = list(shared.encode_all(told.append))
assert done == ([1, 2, 3] if processes.is_main() else []), done
assert model.batches > 0
shared.finish(np.load(data / "test.npy"), out, "float16")
if processes.is_main():
    assert sum(told) == 54, told
assert not list(work.glob("*.word"))
processes.stop()
"""


@pytest.mark.parametrize("disk", ["shared", "own"])
def test_two_processes_write_the_files_of_one(data: Path, tmp_path: Path, together, disk: str) -> None:
    """Also where each has a disk of its own: a relative path is another folder for each."""
    encode(data, tmp_path / "whole", tmp_path / "expected", "float16")
    work = str(tmp_path / "work") if disk == "shared" else "work"
    for done in together(TOGETHER, arguments=(str(data), work, "out")):
        assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "0" / "out") == files_of(tmp_path / "expected")
    assert not (tmp_path / "1" / "out").exists()
    if disk == "own":
        assert list((tmp_path / "1" / "work").iterdir()) == []


def test_an_image_that_cannot_be_used_stops_or_is_left_out_and_named(shards, tmp_path: Path) -> None:
    folder = shards.write(20, 30, 10)
    (folder / "train-001.tar").write_bytes(shards.tar({**shards.samples(20, 30), "000033.png": b"no image"}))
    for on_error in ("skip", "fail"):
        options = shards.options(on_error=on_error, keep_images=2, test_size=2, seed=1)
        make_dataset(options, tmp_path / on_error, tmp_path / "raw")  # 33 is not in this sample: nobody has decoded it
    encode(tmp_path / "skip", tmp_path / "work", tmp_path / "out")
    assert len(open_cache(tmp_path / "out").train) == 57
    assert "000033,damaged" in (tmp_path / "out" / "skipped.csv").read_text()
    with pytest.raises(InputError, match=r"000033: damaged .*dataset.on_error: skip"):
        encode(tmp_path / "fail", tmp_path / "other", tmp_path / "never")


def test_latents_that_are_not_finite_are_an_error_that_names_the_shard(data: Path, tmp_path: Path) -> None:
    model = Affine()
    model.scale = model.scale * torch.inf
    work = encoding(data, tmp_path / "work", model)
    with pytest.raises(InputError, match=r"train-001.tar have NaN or infinite numbers; train it again"):
        work.encode_shard(work.manifest.train[1])
    assert not work.is_done(work.manifest.train[1])


@pytest.mark.parametrize("batch_size", [1, 8])
def test_both_sides_are_those_of_one_array(data: Path, shards, tmp_path: Path, batch_size: int) -> None:
    """With the statistics of both sides, also after a stop, and no call of the encoder has more than `batch_size`."""
    tests = {image.tobytes() for image in np.load(data / "test.npy")}
    train = np.stack([image for image in map(shards.pixels, range(60)) if image.tobytes() not in tests])
    build_cache(Affine(), Mirrored(train), np.load(data / "test.npy"), tmp_path / "plain")
    expected, told = open_cache(tmp_path / "plain"), []
    with pytest.raises(KeyboardInterrupt):
        encode_all(encoding(data, tmp_path / "work", Affine(fail_at=9), batch_size, flips=True))
    work = encoding(data, tmp_path / "work", None, batch_size, flips=True)
    assert list(work.encode_all(told.append)) == [1, 2, 3]
    work.finish(np.load(data / "test.npy"), tmp_path / "out", "float32")
    cache = open_cache(tmp_path / "out")
    assert cache.sides == expected.sides == 2
    assert cache.train.shape == (108, 3, 8, 8)
    assert sum(told) == 54  # images
    np.testing.assert_allclose(cache.statistics.mean, expected.statistics.mean, rtol=2e-7)
    np.testing.assert_allclose(cache.train[:], expected.train[:], atol=1e-5)
    np.testing.assert_allclose(cache.extent().mean, expected.extent().mean, atol=1e-5)


def test_a_training_depends_on_the_index_of_the_shards(data: Path, tmp_path: Path) -> None:
    encode(data, tmp_path / "work", tmp_path / "out")
    assert [path.name for path in input_files(tmp_path / "out")] == ["train.json", "test.npy", "statistics.json"]
    (tmp_path / "out" / "train" / "000001.npy").unlink()
    with pytest.raises(InputError, match=r"000001.npy: no such file"):
        open_cache(tmp_path / "out")
