"""The latent cache: standardised by the training split, whole or absent."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.functional import hflip

from ngldm.data.cache import latents as latents_module
from ngldm.data.cache.latents import Latents, Mirrored, both_sides, build_cache, open_cache
from ngldm.io.errors import InputError
from ngldm.io.tensors import to_float
from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.build import build_autoencoder

# Channels of very different scale, so that mixing them up shows; offsets up to 30 standard deviations.
SCALES, OFFSETS = (3.0, 0.02, 40.0), (-1.5, 0.3, 500.0)
FILES = ("train.npy", "test.npy", "statistics.json")


class Affine(Autoencoder):
    """One grey image to several scaled and shifted copies; `sizes` records the batches it was given."""

    def __init__(self, scales: tuple = SCALES, offsets: tuple = OFFSETS, fail_at: int | None = None) -> None:
        super().__init__()
        self.latent_shape = (len(scales), 4, 5)
        self.scales, self.offsets = (torch.tensor(v)[:, None, None] for v in (scales, offsets))
        self.sizes: list[int] = []
        self.fail_at = fail_at

    def encode(self, x: Tensor) -> Tensor:
        if len(self.sizes) == self.fail_at:
            raise RuntimeError("out of memory")
        self.sizes.append(len(x))
        return x * self.scales + self.offsets


def make_images(count: int, seed: int, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (count, 4, 5, 1), dtype=np.uint8)


# The test split is brighter: standardised with its own statistics it would look like the training split.
TRAIN, TEST = make_images(50, 0), make_images(11, 1, low=128)


def test_latents_are_computed_with_as_many_threads_as_cores_are_free(tmp_path: Path, other_work: int) -> None:
    found: list[int] = []

    class Counting(Affine):
        def encode(self, x: Tensor) -> Tensor:
            found.append(torch.get_num_threads())
            return super().encode(x)

    build_cache(Counting(), TRAIN, TEST, tmp_path / "counted", batch_size=25)
    assert found == [other_work] * 3
    assert torch.get_num_threads() == 4


@pytest.fixture
def built(tmp_path) -> Path:
    build_cache(Affine(), TRAIN, TEST, tmp_path / "cache", batch_size=16)
    return tmp_path / "cache"


@pytest.fixture
def cache(built) -> Latents:
    return open_cache(built)


def encoded(images: np.ndarray) -> np.ndarray:
    """The unstandardised latents, in float64."""
    return Affine().encode(to_float(images)).numpy().astype(np.float64)


def moments(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = z.astype(np.float64)
    return z.mean((0, 2, 3)), z.std((0, 2, 3))


def test_train_split_has_mean_0_and_std_1_per_channel(cache):
    """To float32's 1e-7 times the largest offset of 25 deviations."""
    assert cache.train.shape == (50, 3, 4, 5)
    assert cache.train.dtype == np.float32
    mean, std = moments(cache.train)
    np.testing.assert_allclose(mean, 0.0, atol=3e-6)
    np.testing.assert_allclose(std, 1.0, atol=3e-6)


def test_statistics_are_those_of_a_plain_computation(cache):
    mean, std = moments(encoded(TRAIN))
    np.testing.assert_allclose(cache.statistics.mean, mean, rtol=2e-7)
    np.testing.assert_allclose(cache.statistics.std, std, rtol=2e-7)


@pytest.mark.parametrize("split", ["train", "test"])
def test_both_splits_are_standardised_with_the_train_statistics(cache, split):
    mean, std = moments(encoded(TRAIN))
    expected = (encoded({"train": TRAIN, "test": TEST}[split]) - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(getattr(cache, split), expected, atol=1e-5)


def test_test_split_is_not_standardised_by_itself(cache):
    """Its images are brighter by half the range, 0.87 standard deviations of the training split."""
    assert cache.test.shape == (11, 3, 4, 5)
    assert (moments(cache.test)[0] > 0.5).all()


@pytest.mark.parametrize("split", ["train", "test"])
def test_unstandardise_gives_the_encoded_latents_back(cache, split):
    out = cache.statistics.unstandardise(torch.from_numpy(np.array(getattr(cache, split))))
    np.testing.assert_allclose(out, encoded({"train": TRAIN, "test": TEST}[split]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_chunk_size_does_not_matter(cache, tmp_path, batch_size):
    build_cache(Affine(), TRAIN, TEST, tmp_path / "other", batch_size=batch_size)
    other = open_cache(tmp_path / "other")
    np.testing.assert_allclose(other.statistics.mean, cache.statistics.mean, rtol=1.2e-7)
    np.testing.assert_allclose(other.statistics.std, cache.statistics.std, rtol=1.2e-7)
    np.testing.assert_allclose(other.train, cache.train, atol=1e-5)
    np.testing.assert_allclose(other.test, cache.test, atol=1e-5)


def test_no_batch_is_larger_than_asked_and_progress_counts_every_image(tmp_path):
    model, told = Affine(), []
    build_cache(model, TRAIN, TEST, tmp_path / "cache", batch_size=16, progress=told.append)
    assert model.sizes == told == [16, 16, 16, 2, 11]


def test_autoencoder_is_put_into_eval_mode(tmp_path):
    model = Affine().train()
    build_cache(model, TRAIN, TEST, tmp_path / "cache")
    assert not model.training


@pytest.mark.parametrize("offset", [0.0, 0.3, -1000.1])
def test_constant_channel_is_centred_but_not_blown_up(tmp_path, offset):
    build_cache(Affine((0.0, 1.0), (offset, 0.0)), TRAIN, TEST, tmp_path / "cache")
    cache = open_cache(tmp_path / "cache")
    assert cache.statistics.std[0] == 1.0
    assert np.abs(cache.train[:, 0]).max() < 1e-3
    np.testing.assert_allclose(moments(cache.train)[1][1], 1.0, atol=1e-5)


def test_latents_are_memory_mapped_read_only(cache):
    for array in (cache.train, cache.test):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_statistics_json_holds_the_statistics_the_shape_and_the_counts(built, cache):
    content = json.loads((built / "statistics.json").read_text())
    assert len(content["sha256"].pop("statistics.json")) == 64  # of the file's own content
    assert content == {
        "mean": cache.statistics.mean.tolist(),
        "std": cache.statistics.std.tolist(),
        "latent_shape": [3, 4, 5],
        "counts": {"train": len(TRAIN), "test": len(TEST)},
        "sha256": {name: hashlib.sha256((built / name).read_bytes()).hexdigest() for name in ("train.npy", "test.npy")},
    }
    assert sorted(p.name for p in built.iterdir()) == sorted(FILES)


def test_building_twice_gives_the_same_bytes(built, tmp_path):
    """DVC compares outputs by their bytes."""
    build_cache(Affine(), TRAIN, TEST, tmp_path / "again", batch_size=16)
    for name in FILES:
        assert (built / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def error_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_cache(path)
    return str(caught.value)


def test_missing_folder_is_named(tmp_path):
    assert str(tmp_path / "nowhere") in error_of(tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(built, name):
    (built / name).unlink()
    assert str(built / name) in error_of(built)


@pytest.mark.parametrize("keep", [0, 3, 40, -1])
@pytest.mark.parametrize("name", FILES)
def test_truncated_file_names_the_cache(built, name, keep):
    """Cut to nothing, in the magic string, in the header, by the last byte (for JSON, the closing brace)."""
    content = (built / name).read_bytes().rstrip(b"\n")
    (built / name).write_bytes(content[:keep])
    assert str(built) in error_of(built)


@pytest.mark.parametrize("content", ["{}", "[]", '{"mean": [0, 0, 0]}'])
def test_statistics_json_of_another_form_names_the_cache(built, content):
    (built / "statistics.json").write_text(content)
    assert str(built) in error_of(built)


@pytest.mark.parametrize("mean", ['"x"', "null", "[[0], [0, 0]]"])
def test_statistics_that_are_not_numbers_name_the_cache(built, mean):
    (built / "statistics.json").write_text(f'{{"mean": {mean}, "std": [1.0, 1.0, 1.0]}}')
    assert str(built) in error_of(built)


@pytest.mark.parametrize("fail_at", [0, 2, 4])
def test_interrupted_build_leaves_nothing(tmp_path, fail_at):
    """Interrupted at the first batch, in the middle of the training split, in the test split."""
    with pytest.raises(RuntimeError, match="out of memory"):
        build_cache(Affine(fail_at=fail_at), TRAIN, TEST, tmp_path / "cache", batch_size=16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["channel_statistics", "write_described"])
def test_build_interrupted_after_encoding_leaves_nothing(tmp_path, monkeypatch, step):
    """Both arrays exist by then: unstandardised before `_statistics`, whole before `write_described`."""

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(latents_module, step, fail)
    with pytest.raises(OSError, match="disk full"):
        build_cache(Affine(), TRAIN, TEST, tmp_path / "cache", batch_size=16)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_build_keeps_the_old_cache(built):
    before = {name: (built / name).read_bytes() for name in FILES}
    with pytest.raises(RuntimeError, match="out of memory"):
        build_cache(Affine(fail_at=2), TEST, TRAIN, built, batch_size=4)
    assert {p.name: p.read_bytes() for p in built.iterdir()} == before
    assert list(built.parent.iterdir()) == [built]


COLOURED = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)


def mirrored_by_torchvision() -> np.ndarray:
    mirrored = hflip(torch.from_numpy(COLOURED).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    return np.stack([side for pair in zip(COLOURED, mirrored, strict=True) for side in pair])


def test_each_image_is_followed_by_its_mirror_image() -> None:
    np.testing.assert_array_equal(both_sides(COLOURED), mirrored_by_torchvision())
    assert len(Mirrored(COLOURED)) == 14


@given(st.integers(0, 16), st.integers(0, 16))
def test_a_slice_is_a_slice_of_the_whole(start: int, stop: int) -> None:
    np.testing.assert_array_equal(Mirrored(COLOURED)[start:stop], mirrored_by_torchvision()[start:stop])


def test_points_have_no_sides() -> None:
    with pytest.raises(TypeError, match="float32"):
        Mirrored(np.zeros((4, 2), np.float32))


def test_both_sides_are_standardised_together(tmp_path):
    """A white half-plane on the left: with the mirror images its mean is the same in every column."""
    images = np.zeros((6, 4, 5, 1), np.uint8)
    images[:, :, :2] = np.array([0, 50, 100, 150, 200, 250], np.uint8)[:, None, None, None]
    build_cache(Affine(), Mirrored(images), TEST, tmp_path / "cache", batch_size=5)
    cache = open_cache(tmp_path / "cache")
    both = np.stack([side for image in images for side in (image, np.fliplr(image))])
    mean, std = moments(encoded(both))
    assert cache.sides == 2
    np.testing.assert_allclose(cache.train, (encoded(both) - mean[:, None, None]) / std[:, None, None], atol=1e-5)
    np.testing.assert_allclose(cache.test, (encoded(TEST) - mean[:, None, None]) / std[:, None, None], atol=1e-5)
    average = cache.extent().mean
    torch.testing.assert_close(average, average.flip(-1))
    assert json.loads((tmp_path / "cache" / "statistics.json").read_text())["counts"] == {"train": 12, "test": 11}


@pytest.mark.parametrize("sides", [0, 3, "two", True])
def test_sides_that_cannot_be_name_the_file(built, sides):
    file = built / "statistics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "sides": sides}))
    fault = error_of(built)
    assert f"{file}: sides" in fault
    assert repr(sides) in fault


def test_points_are_standardised_per_column(tmp_path):
    """By NumPy's mean and deviation of the training points, after the autoencoder's transform."""
    train, test = (np.random.default_rng(seed).normal([5, -3], [2, 0.1], (80, 2)).astype(np.float32) for seed in (0, 1))
    autoencoder = build_autoencoder({"kind": "identity", "transform": "soft_log"}, (2,))
    build_cache(autoencoder, train, test, tmp_path / "latents", batch_size=7)
    logs = [np.sign(x) * np.log1p(np.abs(x.astype(np.float64))) for x in (train, test)]
    opened = open_cache(tmp_path / "latents")
    for found, expected in zip((opened.train, opened.test), logs, strict=True):
        np.testing.assert_allclose(found, (expected - logs[0].mean(0)) / logs[0].std(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        opened.statistics.unstandardise(torch.from_numpy(opened.test.copy())), logs[1], rtol=1e-4
    )
