"""Generated images on disk."""

from pathlib import Path

import numpy as np
import pytest

from ngldm.data.samples import load_samples
from ngldm.io.errors import InputError


def noise_images(count: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


FILES = ("images.npy", "trajectory.npy")


@pytest.fixture
def sampled(tmp_path) -> Path:
    """A folder as the stage `sample` writes it."""
    np.save(tmp_path / "images.npy", noise_images(6, 4, 4, 1))
    np.save(tmp_path / "trajectory.npy", noise_images(6, 4, 4, 1).reshape(3, 2, 4, 4, 1))
    return tmp_path


def test_load_samples_gives_both_arrays_memory_mapped(sampled):
    images, trajectory = load_samples(sampled)
    assert isinstance(images, np.memmap)
    assert isinstance(trajectory, np.memmap)
    np.testing.assert_array_equal(images, noise_images(6, 4, 4, 1))
    assert trajectory.shape == (3, 2, 4, 4, 1)


@pytest.mark.parametrize("name", FILES)
def test_load_samples_names_the_missing_file(sampled, name):
    (sampled / name).unlink()
    with pytest.raises(InputError) as caught:
        load_samples(sampled)
    assert str(sampled / name) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 40, -1])
@pytest.mark.parametrize("name", FILES)
def test_load_samples_names_the_truncated_file(sampled, name, keep):
    """Cut to nothing, in the magic string, in the header, by the last byte."""
    content = (sampled / name).read_bytes()
    (sampled / name).write_bytes(content[:keep])
    with pytest.raises(InputError) as caught:
        load_samples(sampled)
    assert str(sampled / name) in str(caught.value)
