"""Images of a model: the noise they start from, that image i is image i, and what a generator offers and refuses."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array
from ngldm.io.threads import VARIABLES, Threads
from ngldm.model import Model
from ngldm.sampling.best import Option
from ngldm.sampling.generator import Generator, load, sample_latents
from ngldm.sampling.samplers import SAMPLERS
from ngldm.sampling.seeds import ImageSeed, image_seeds
from ngldm.sampling.timesteps import Callback, Step

NOISES = ("gaussian", "laplace", "exponential", "uniform", "gumbel")
METHODS = tuple(sorted(SAMPLERS))
MakeModel = Callable[..., Model]


def images(model: Model, count: int = 3, **options: Any) -> UInt8Array:
    """In one batch."""
    return Generator(model).sample(count, batch_size=count, **{"method": "ddim", "num_inference_steps": 4, **options})


def latents(model: Model, seeds: list[ImageSeed], callback: Callback | None = None, **options: Option) -> torch.Tensor:
    chosen = {"method": "ddim", "num_inference_steps": 4, **options}
    return sample_latents(model, seeds, Generator(model).options(**chosen), callback)


def steps_of(model: Model, count: int, **options: Option) -> list[Step]:
    """What a callback sees of the images that `images` makes."""
    seen: list[Step] = []
    latents(model, image_seeds(0, 0, count), seen.append, **options)
    return seen


def first_noise(model: Model, count: int) -> np.ndarray:
    """x_T: what sampling starts from."""
    return steps_of(model, count, num_inference_steps=1)[0].x.numpy().ravel()


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
        ({"num_images": -1}, "num_images: -1 must lie between 0"),
        ({"num_images": 1, "batch_size": 0}, "batch_size: 0 must lie between 1 and 1000000"),
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
    with pytest.raises(InputError, match=f"^{next(iter(wrong))}: .* must lie between"):
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


# --- the noise


def test_a_laplace_model_starts_from_laplace_noise(tmp_path: Path, make_model: MakeModel) -> None:
    make_model("laplace").save(tmp_path / "model.safetensors")
    x = first_noise(load(tmp_path / "model.safetensors", "cpu").model, 150)
    assert kstest(x, "laplace", (0.0, 0.5**0.5)).pvalue > 0.01
    assert kstest(x, "norm").pvalue < 1e-4


def test_a_laplace_model_adds_laplace_noise_at_each_step(tmp_path: Path, make_model: MakeModel) -> None:
    """A U-Net that predicts 0 leaves, between two steps of ancestral sampling, the added noise alone."""
    model = make_model("laplace", "identity")
    nn.init.zeros_(model.network.conv_out.weight)
    nn.init.zeros_(model.network.conv_out.bias)
    model.save(tmp_path / "model.safetensors")
    steps = steps_of(load(tmp_path / "model.safetensors", "cpu").model, 150, method="ancestral")
    abar = model.diffusion.schedule.alphas_cumprod
    for this, following in pairwise(steps):
        alpha = float(abar[this.t] / abar[this.t_next])
        added = (following.x - this.x / alpha**0.5) / (1.0 - alpha) ** 0.5
        assert kstest(added.numpy().ravel(), "laplace", (0.0, 0.5**0.5)).pvalue > 0.01
        assert kstest(added.numpy().ravel(), "norm").pvalue < 1e-4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", NOISES)
def test_every_noise_and_sampler_gives_finite_uint8_images(noise: str, method: str, make_model: MakeModel) -> None:
    model = make_model(noise, "identity")
    result, steps = images(model, method=method), steps_of(model, 3, method=method)
    assert result.dtype == np.uint8
    assert result.shape == (3, 7, 5, 1)
    assert all(bool(step.x.isfinite().all() and step.x0.isfinite().all()) for step in steps)
    assert result.std() > 5


def test_noises_differ_from_each_other_in_the_images(make_model: MakeModel) -> None:
    results = {images(make_model(noise)).tobytes() for noise in NOISES}
    assert len(results) == len(NOISES)


# --- image i


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_image_i_does_not_depend_on_the_batch_size(method: str, batch_size: int, make_model: MakeModel) -> None:
    """To one grey level: a network's float32 rounding may differ between batch sizes, and then be rounded apart."""
    model = make_model()
    whole = images(model, 7, method=method, num_inference_steps=6)
    made = Generator(model).sample(7, batch_size=batch_size, method=method, num_inference_steps=6)
    difference = np.abs(made.astype(int) - whole)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05


@pytest.mark.parametrize("method", METHODS)
def test_images_of_one_seed_differ_and_seeds_differ(method: str, make_model: MakeModel) -> None:
    results = [images(make_model(), 3, seed=seed, method=method) for seed in (0, 1)]
    assert len({image.tobytes() for result in results for image in result}) == 6


@pytest.mark.parametrize("method", ["ancestral", "posterior"])
def test_the_steps_draw_the_noise_that_is_asked_for(method: str, make_model: MakeModel) -> None:
    """A Bernoulli's own steps are told from Gaussian ones; for a Gaussian model the choice changes nothing."""
    for noise, changes in (("bernoulli", True), ("gaussian", False)):
        model = make_model(noise, head="none")
        own, normal = (
            latents(model, [(0, 1), (0, 2)], method=method, num_inference_steps=5, step_noise=choice)
            for choice in ("own", "gaussian")
        )
        assert torch.equal(own, normal) != changes
    with pytest.raises(InputError, match="step_noise: 'other'"):
        latents(make_model(), [(0, 1)], method=method, num_inference_steps=5, step_noise="other")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("handling", ["clip", "dynamic", "range"])
def test_x0_handling_bounds_the_predictions_of_every_sampler(method: str, handling: str, make_model: MakeModel) -> None:
    model, steps, free = make_model(), list[Step](), list[Step]()
    bound = torch.full(model.autoencoder.latent_shape, 0.2)
    model = replace(model, extent=replace(model.extent, low=-bound, high=bound))
    options: dict[str, Any] = {"method": method, "num_inference_steps": 4}
    handled = {"x0_handling": handling} | ({} if handling == "range" else {"x0_limit": 0.2})
    latents(model, [(0, 1), (0, 2)], callback=steps.append, **options, **handled)
    latents(model, [(0, 1), (0, 2)], callback=free.append, **options)
    assert max(float(step.x0.abs().max()) for step in steps) <= 0.2 + 1e-6
    assert max(float(step.x0.abs().max()) for step in free) > 0.5


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_named(seed: int, make_model: MakeModel) -> None:
    with pytest.raises(InputError, match=f"seed: {seed} must lie between 0 and 9223372036854775807"):
        images(make_model(), 1, seed=seed)


def test_one_seed_gives_the_same_images_whatever_the_global_generator(make_model: MakeModel) -> None:
    model = make_model()
    first = images(model, method="ancestral", seed=3)
    torch.manual_seed(123)
    np.testing.assert_array_equal(images(model, method="ancestral", seed=3), first)


@pytest.mark.parametrize(("total", "batch_size", "sizes"), [(7, 3, [3, 3, 1]), (4, 4, [4]), (2, 9, [2]), (0, 4, [])])
def test_batches_cover_all_images_in_order(
    total: int, batch_size: int, sizes: list[int], make_model: MakeModel
) -> None:
    model, told = make_model(kind="identity"), []
    options = {"method": "ddim", "num_inference_steps": 2, "seed": 5}
    batches = list(Generator(model).batches(total, batch_size=batch_size, progress=told.append, **options))
    assert [len(batch) for batch in batches] == sizes
    assert told == [size for size in sizes for _ in range(2)]  # once per network call
    for index, image in enumerate(image for batch in batches for image in batch):
        alone = images(model, 1, first=index, **options)[0]
        assert np.abs(alone.astype(int) - image).max() <= 1  # rounding, as above


# --- trajectory


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("steps", "frames", "returned"), [(6, 3, 3), (6, 4, 4), (6, 7, 7), (5, 20, 6), (1, 2, 2)])
def test_a_trajectory_has_its_frames_and_ends_in_the_images(
    method: str, steps: int, frames: int, returned: int, make_model: MakeModel
) -> None:
    model = make_model()
    options = {"num_inference_steps": steps, "method": method, "seed": 2}
    result = Generator(model).trajectory(2, frames, **options)
    assert result.shape == (returned, 2, 8, 6, 3)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[-1], Generator(model).sample(2, batch_size=2, **options))


def test_a_trajectory_starts_from_pure_noise_and_is_spaced_by_the_level_of_noise(make_model: MakeModel) -> None:
    model, options = make_model(), {"method": "ddim", "num_inference_steps": 6}
    steps = steps_of(model, 2, **options)
    generator = Generator(model)
    frames, levels = generator.trajectory(2, 4, **options), generator.trajectory_levels(4, **options)
    # The cosine schedule has about sin(90 degrees i / 6) at t = T i / 6: 1, 0.97, 0.87, 0.71, 0.5, 0.26. Nearest to
    # 2/3 and 1/3 are those after 3 and 5 steps.
    for frame, index in zip(frames, (0, 3, 5), strict=False):
        np.testing.assert_array_equal(frame, model.decode(steps[index].x))
    assert levels == pytest.approx([1.0, math.sin(math.pi / 4), math.sin(math.pi / 12), 0.0], abs=0.03)


def of_noise(generator: Generator, noise: str, coupling: str = "independent", **params: object) -> Generator:
    """The same network as a model of another noise."""
    config = dict(generator.model.config)
    config |= {"noise": {"name": noise, "params": params}, "diffusion": {"objective": "x0", "coupling": coupling}}
    model = Model.build(config)
    model.network.load_state_dict(generator.model.network.state_dict())
    model.network.eval()
    return Generator(model)


@pytest.mark.parametrize("noise", ["multivariate_t", "isotropic_stable", "sphere", "power_law", "choice", "annealed"])
def test_an_image_of_a_law_of_whole_images_does_not_depend_on_its_batch(generator: Generator, noise: str) -> None:
    """Up to the rounding of the network, which may differ between batch sizes: one step of uint8."""
    other = of_noise(generator, noise)
    together = other.sample(5, seed=3, batch_size=5).astype(int)
    alone = other.sample(5, seed=3, batch_size=1).astype(int)
    assert together.std() > 5
    assert np.abs(together - alone).max() <= 1


def test_an_annealed_noise_is_sampled_by_ddim_alone(generator: Generator) -> None:
    annealed = of_noise(generator, "annealed")
    assert annealed.options().method == "ddim"
    for options in ({"method": "heun"}, {"method": "ancestral"}, {"method": "ddim", "eta": 0.5}):
        with pytest.raises(InputError, match="and that of 'annealed' changes; use ddim with eta 0"):
            annealed.sample(1, num_inference_steps=3, **options)


def test_fresh_noise_is_refused_where_noise_was_paired_with_images(generator: Generator) -> None:
    coupled = of_noise(generator, "gaussian", coupling="minibatch_ot")
    for options in ({"method": "ancestral"}, {"method": "posterior"}, {"method": "ddim", "eta": 0.1}):
        with pytest.raises(InputError, match=r"adds fresh noise, but with diffusion\.coupling 'minibatch_ot'"):
            coupled.sample(1, num_inference_steps=3, **options)
    for options in ({"method": "ddim"}, {"method": "posterior", "refresh": 0.0}, {"method": "heun"}):
        assert coupled.sample(1, num_inference_steps=3, **options).shape == (1, 6, 4, 1)


def test_a_model_refuses_noise_that_its_latents_have_not_the_pixels_for(generator: Generator) -> None:
    with pytest.raises(InputError, match="of the frequencies of 6 x 4 pixels none lie in"):
        of_noise(generator, "band", low=0.01, high=0.02)


def test_stein_is_refused_without_the_head_that_it_needs(generator: Generator) -> None:
    with pytest.raises(InputError, match=r"method: 'stein' needs K_bar of the noise 'laplace'.* train with element"):
        generator.sample(1, batch_size=1, method="stein", num_inference_steps=3)


@pytest.mark.parametrize(
    ("noise", "params"), [("exponential", {}), ("power_law", {"beta": 1.0}), ("multivariate_t", {"df": 5.0})]
)
def test_stein_samples_laws_of_every_kind(noise: str, params: dict[str, float]) -> None:
    """Its steps' noise is Gaussian with the law's correlation: image i is image i here too."""
    config = {
        "noise": {"name": noise, "params": params},
        "schedule": {"name": "cosine", "num_train_timesteps": 25},
        "diffusion": {"objective": "v", "stein_head": "scalar"},
        "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [], "attention_head_dim": 8},
        "autoencoder": {"kind": "identity"},
        "image_shape": (1, 6, 4),
    }
    torch.manual_seed(0)
    made = Generator(Model.build(config))
    made.model.network.eval()
    images = made.sample(4, batch_size=4, method="stein", num_inference_steps=6)
    alone = made.sample(1, first=2, batch_size=1, method="stein", num_inference_steps=6)
    assert images.std() > 0.0
    np.testing.assert_allclose(alone[0].astype(int), images[2].astype(int), atol=1)


def test_spread_gives_the_batches_and_tells_all_steps(make_model: MakeModel) -> None:
    generator, told = Generator(make_model()), list[int]()
    options: dict[str, Any] = {"method": "ddim", "num_inference_steps": 4}
    spread = list(generator.spread(5, 7, 2, progress=told.append, **options))
    batches = list(generator.batches(5, 7, batch_size=2, **options))
    assert [len(batch) for batch in spread] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(spread), np.concatenate(batches))
    assert sum(told) == 5 * 4
    assert generator.shared_batch_size(5) == generator.batch_size(5)


def test_sampling_looks_for_free_cores_first_and_after_each_step_and_gives_the_threads_back(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And beside others it takes fewer."""
    looks: list[int] = []

    def look(self: Threads) -> None:
        looks.append(torch.get_num_threads())
        torch.set_num_threads(1)

    monkeypatch.setattr(Threads, "look", look)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        generator.sample(4, batch_size=2, method="ddim", num_inference_steps=3)
        assert (looks, torch.get_num_threads()) == ([3, 1, 1, 1, 1, 1, 1], 3)
    finally:
        torch.set_num_threads(before)
