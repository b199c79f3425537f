"""Generated images on disk."""

import json
from pathlib import Path

import numpy as np
import pytest

from ngldm.data.results.samples import asked_classes, load_samples, require_origin, same_number
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


@pytest.fixture
def points(tmp_path):
    """A folder of generated points: 6 of them, 2 in a trajectory of 3 frames."""
    np.save(tmp_path / "points.npy", np.zeros((6, 2), np.float32))
    np.save(tmp_path / "trajectory.npy", np.zeros((3, 2, 2), np.float32))
    return tmp_path


def test_points_come_back(points):
    found, trajectory = load_samples(points)
    assert (found.shape, trajectory.shape, found.dtype) == ((6, 2), (3, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("name", "array", "named"),
    [
        ("points", np.zeros(6, np.float32), r"points.npy: points of shape \(6,\), must be \(N, d\)"),
        ("trajectory", np.zeros((3, 2), np.float32), r"trajectory.npy: .* must be \(frames, n, d\)"),
        ("points", np.array([[0, np.nan]], np.float32), r"points.npy: NaN or infinite numbers, the first in row 0"),
        ("points", np.zeros((6, 3), np.float32), r"points of different shapes .*: \(3,\) in points.npy, \(2,\) in"),
        ("points", np.zeros((6, 2)), r"points.npy: holds float64, must hold float32"),
    ],
)
def test_points_that_do_not_fit_are_named(points, name, array, named):
    np.save(points / f"{name}.npy", array)
    with pytest.raises(InputError, match=named):
        load_samples(points)


def test_the_classes_that_were_asked_for(sampled):
    assert asked_classes(sampled) is None
    np.save(sampled / "classes.npy", np.array([0, 1, 2, 0, 1, 2]))
    (sampled / "samples.json").write_text('{"num_images": 6}')
    assert asked_classes(sampled).tolist() == [0, 1, 2, 0, 1, 2]
    (sampled / "samples.json").write_text('{"num_images": 5}')
    with pytest.raises(InputError, match=r"classes\.npy: shape \(6,\), must be \(5,\)"):
        asked_classes(sampled)


def test_sets_of_different_numbers_cannot_be_compared() -> None:
    assert same_number({"ddim": 6, "auto": 6}) == 6
    with pytest.raises(InputError, match=r"different numbers of images, \{'ddim': 6, 'auto': 5\}; run the stage"):
        same_number({"ddim": 6, "auto": 5})


def test_a_class_below_0_is_named(sampled):
    (sampled / "samples.json").write_text('{"num_images": 6}')
    np.save(sampled / "classes.npy", np.array([0, 1, 2, -1, 0, 0]))
    with pytest.raises(InputError, match=r"classes\.npy: class -1 must be at least 0"):
        asked_classes(sampled)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"noise": "gaussian"}, "noise: 'gaussian', must be 'laplace'"),
        ({"sampler_label": "auto"}, "sampler_label: 'auto', must be 'ddim'"),
        ({"model_sha256": 3}, "model_sha256: 3 is not a value of type str"),
        ({"noise": None}, "noise: None, must be 'laplace'"),
    ],
)
def test_items_of_another_training_or_sampler_are_refused(sampled, about, message) -> None:
    whole = {"noise": "laplace", "sampler_label": "ddim", "model_sha256": "a" * 64}
    (sampled / "samples.json").write_text(json.dumps(whole))
    require_origin(sampled, "laplace", "ddim")
    (sampled / "samples.json").write_text(json.dumps({"noise": "laplace", "model_sha256": "a" * 64}))
    require_origin(sampled, "laplace", "ddim")  # of an older version
    (sampled / "samples.json").write_text(json.dumps({**whole, **about}))
    with pytest.raises(InputError, match=f"samples.json: {message}"):
        require_origin(sampled, "laplace", "ddim")
