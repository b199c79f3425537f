"""A generator's own conveniences; that image i is image i stands in tests/test_model.py."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.model import Model
from ngldm.sampling.generator import Generator, load


@pytest.fixture(scope="module")
def generator() -> Generator:
    config = {
        "noise": {"name": "laplace", "params": {}},
        "schedule": {"name": "cosine", "num_train_timesteps": 25},
        "diffusion": {"forward": "marginal", "objective": "x0", "weighting": "none", "gamma": None},
        "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [], "attention_head_dim": 8},
        "autoencoder": {"kind": "identity"},
        "image_shape": (1, 6, 4),
    }
    torch.manual_seed(0)
    model = Model.build(config)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    model.network.eval()
    return Generator(model)


def test_without_options_it_is_the_best_sampler_of_the_noise(generator: Generator) -> None:
    options = {"method": "dpmpp_2m", "num_inference_steps": 20, "timestep_spacing": "karras", "start_noise": "own"}
    images = generator.sample(3, seed=1, batch_size=3)
    assert images.std() > 5
    np.testing.assert_array_equal(images, generator.sample(3, seed=1, batch_size=3, **options))
    other = generator.sample(3, seed=1, batch_size=3, method="ddim", num_inference_steps=20)
    assert not np.array_equal(images, other)


def test_without_a_batch_size_memory_decides(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    generator.sample(5, progress=told.append, num_inference_steps=2)
    assert told == [5, 5]  # one batch, two steps
    told.clear()
    monkeypatch.setattr("ngldm.sampling.generator.free_memory", lambda device: 0)
    generator.sample(3, progress=told.append, num_inference_steps=2)
    assert told == [1] * 6


def test_a_bar_is_drawn_for_those_who_want_it(generator: Generator, capsys: pytest.CaptureFixture[str]) -> None:
    generator.sample(4, batch_size=2, num_inference_steps=3)
    assert capsys.readouterr().err == ""
    generator.sample(4, batch_size=2, num_inference_steps=3, progress=True)
    assert "12/12" in capsys.readouterr().err


def test_no_images_are_an_empty_array(generator: Generator) -> None:
    assert generator.sample(0).shape == (0, 6, 4, 1)


def test_sets_of_one_seed_join(generator: Generator) -> None:
    whole = generator.sample(4, seed=2, batch_size=2)
    parts = [generator.sample(2, seed=2, first=first, batch_size=2) for first in (0, 2)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_images": -1}, "num_images: -1 must be at least 0"),
        ({"num_images": 1, "batch_size": 0}, "batch_size: 0 must be at least 1"),
        ({"num_images": 1, "first": -2}, "first: -2 must be at least 0"),
        ({"num_images": 2, "first": 2**63 - 1}, "first: images 9223372036854775807 to 9223372036854775808"),
        ({"num_images": 1, "seed": 2**63}, "seed: 9223372036854775808 must lie between"),
        ({"num_images": 1, "num_inference_steps": 26}, "num_inference_steps: 26 must be between 1 and .* 25"),
        ({"num_images": 1, "timestep_spacing": "odd"}, "timestep_spacing 'odd'"),
        ({"num_images": 1, "start_noise": "pink"}, "start_noise: 'pink'"),
        ({"num_images": 1, "x0_handling": "cut"}, "x0_handling 'cut'"),
    ],
)
def test_bad_requests_are_named(generator: Generator, arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        generator.sample(**arguments)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("num_images", 1.5), ("num_images", "3"), ("seed", None), ("seed", 0.5), ("first", 1.5), ("batch_size", 1.5)],
        *[("num_inference_steps", 1.5), ("num_inference_steps", "5"), ("eta", "1"), ("x0_limit", "1")],
    ],
)
def test_a_value_of_a_wrong_type_is_named(generator: Generator, key: str, value: object) -> None:
    arguments = {"num_images": 1, "method": "ddim", "num_inference_steps": 2, "x0_handling": "clip", key: value}
    with pytest.raises(InputError, match=f"^{key}: {value!r} is not a"):
        generator.sample(**arguments)


@pytest.mark.parametrize("wrong", [{"num_frames": 1}, {"num_frames": -1}, {"num_images": 0}, {"num_images": -1}])
def test_a_trajectory_of_too_little_is_refused(generator: Generator, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(wrong))}: .* must be at least"):
        generator.trajectory(**{"num_images": 1, "num_frames": 2, **wrong})


def test_numbers_of_numpy_are_as_good_and_none_is_not_chosen(generator: Generator) -> None:
    options = {"method": "ddim", "num_inference_steps": 2}
    numpy = generator.sample(
        np.int64(2), np.int64(5), batch_size=np.int32(2), method="ddim", num_inference_steps=np.int8(2)
    )
    np.testing.assert_array_equal(numpy, generator.sample(2, 5, batch_size=2, **options))
    chosen = generator.options(method=None, num_inference_steps=None, eta=None)
    assert chosen == generator.options()


def test_float64_as_torchs_default_changes_no_image(generator: Generator, tmp_path: Path) -> None:
    generator.model.save(tmp_path / "m.safetensors")
    options = {"method": "ancestral", "num_inference_steps": 3, "start_noise": "x_T"}
    expected = generator.sample(2, batch_size=2, **options)
    torch.set_default_dtype(torch.float64)
    try:
        assert generator.batch_size(2) == 2
        np.testing.assert_array_equal(generator.sample(2, batch_size=2, **options), expected)
        np.testing.assert_array_equal(load(tmp_path / "m.safetensors").sample(2, batch_size=2, **options), expected)
    finally:
        torch.set_default_dtype(torch.float32)
