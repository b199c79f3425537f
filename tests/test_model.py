"""The model file and generating from it: what is saved comes back, and image i is image i."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.stats import kstest
from torch import nn

from ngldm.data.statistics import LatentStatistics
from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array
from ngldm.model import FORMAT, Model, load_model
from ngldm.sampling.best import Option
from ngldm.sampling.generator import Generator, sample_latents
from ngldm.sampling.samplers import SAMPLERS, Callback, Step
from ngldm.sampling.seeds import ImageSeed, image_seeds

NOISES = ("gaussian", "laplace", "exponential", "uniform", "gumbel")
METHODS = tuple(sorted(SAMPLERS))
UNET = {
    "widths": [8, 8],
    "blocks_per_level": 1,
    "attention_levels": [1],
    "attention_head_dim": 4,
    "time_embedding": "sinusoidal",
    "dropout": 0.2,
}
AUTOENCODERS = {
    "identity": {"kind": "identity"},
    "kl": {"kind": "kl", "latent_channels": 2, "levels": 1, "width": 8, "kl_weight": 1e-6},
    "paper": {"kind": "paper", "latent_channels": 2, "latent_size": 4, "width": 8},
}
SHAPES = {"identity": [1, 7, 5], "kl": [3, 8, 6], "paper": [1, 6, 6]}  # (C, H, W)


def make_model(noise: str = "laplace", kind: str = "kl", params: dict[str, float] | None = None) -> Model:
    """An untrained model, no layer of which is zero, so that every weight shows in the images."""
    config = {
        "noise": {"name": noise, "params": params or {}},
        "schedule": {"name": "cosine", "num_train_timesteps": 30, "beta_start": 1e-4, "beta_end": 0.02},
        "diffusion": {"forward": "marginal", "objective": "eps", "weighting": "none", "gamma": 5.0},
        "unet": UNET,
        "autoencoder": AUTOENCODERS[kind],
        "image_shape": SHAPES[kind],
        "dataset": "none",
    }
    torch.manual_seed(0)
    model = Model.build(config)
    for parameter in model.network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    model.network.eval()
    channels = model.autoencoder.latent_shape[0]
    statistics = LatentStatistics(torch.linspace(-0.2, 0.3, channels), torch.linspace(0.4, 0.5, channels))
    model.autoencoder.eval()
    return replace(model, statistics=statistics)


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


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make_model().save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


# --- save and load


@pytest.mark.parametrize("kind", AUTOENCODERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_model_gives_the_same_images(tmp_path: Path, kind: str, method: str) -> None:
    model = make_model(kind=kind)
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    expected = images(model, method=method)
    np.testing.assert_array_equal(images(loaded, method=method), expected)
    channels, height, width = SHAPES[kind]
    assert expected.shape == (3, height, width, channels)
    assert expected.std() > 5  # not a blank, which would equal anything


def test_settings_statistics_and_noise_come_back(saved: Path) -> None:
    model, loaded = make_model(), load_model(saved)
    assert {key: loaded.config[key] for key in model.config} == model.config
    assert (loaded.diffusion.noise.name, loaded.diffusion.noise.params) == ("laplace", {})
    assert torch.equal(loaded.statistics.mean, model.statistics.mean)
    assert torch.equal(loaded.statistics.std, model.statistics.std)
    assert torch.equal(loaded.diffusion.schedule.alphas_cumprod, model.diffusion.schedule.alphas_cumprod)


def test_a_loaded_model_is_in_eval_mode_so_that_dropout_is_off(saved: Path) -> None:
    loaded = load_model(saved)
    assert not any(module.training for network in (loaded.network, loaded.autoencoder) for module in network.modules())
    np.testing.assert_array_equal(images(loaded), images(loaded))


def test_the_file_is_enough(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty directory, without params.yaml or anything else."""
    expected = images(load_model(saved))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    saved.rename(elsewhere / "renamed.safetensors")
    monkeypatch.chdir(elsewhere)
    np.testing.assert_array_equal(images(load_model(Path("renamed.safetensors"))), expected)


def test_the_metadata_is_json_that_names_noise_and_format(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    assert state == {"format": FORMAT, **make_model().config}
    assert state["noise"] == {"name": "laplace", "params": {}}


def test_a_saved_model_saves_again_to_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    load_model(saved).save(tmp_path / "again.safetensors")
    (tensors, again) = (load_file(path) for path in (saved, tmp_path / "again.safetensors"))
    assert all(torch.equal(tensors[key], again[key]) for key in tensors | again)


# --- the noise


def test_a_laplace_model_starts_from_laplace_noise(saved: Path) -> None:
    x = first_noise(load_model(saved), 150)
    assert kstest(x, "laplace", (0.0, 0.5**0.5)).pvalue > 0.01
    assert kstest(x, "norm").pvalue < 1e-4


def test_a_laplace_model_adds_laplace_noise_at_each_step(tmp_path: Path) -> None:
    """A U-Net that predicts 0 leaves, between two steps of ancestral sampling, the added noise alone."""
    model = make_model("laplace", "identity")
    nn.init.zeros_(model.network.conv_out.weight)
    nn.init.zeros_(model.network.conv_out.bias)
    model.save(tmp_path / "model.safetensors")
    steps = steps_of(load_model(tmp_path / "model.safetensors"), 150, method="ancestral")
    abar = model.diffusion.schedule.alphas_cumprod
    for this, following in pairwise(steps):
        alpha = float(abar[this.t] / abar[this.t_next])
        added = (following.x - this.x / alpha**0.5) / (1.0 - alpha) ** 0.5
        assert kstest(added.numpy().ravel(), "laplace", (0.0, 0.5**0.5)).pvalue > 0.01
        assert kstest(added.numpy().ravel(), "norm").pvalue < 1e-4


def test_parameters_of_the_noise_survive(tmp_path: Path) -> None:
    make_model("student_t", params={"df": 5.5}).save(tmp_path / "a.safetensors")
    make_model("student_t", params={"df": 9.0}).save(tmp_path / "b.safetensors")
    first, second = load_model(tmp_path / "a.safetensors"), load_model(tmp_path / "b.safetensors")
    assert first.diffusion.noise.params == {"df": 5.5}
    assert first.diffusion.noise.excess_kurtosis == pytest.approx(4.0)
    assert not np.array_equal(images(first), images(second))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", NOISES)
def test_every_noise_and_sampler_gives_finite_uint8_images(noise: str, method: str) -> None:
    model = make_model(noise, "identity")
    result, steps = images(model, method=method), steps_of(model, 3, method=method)
    assert result.dtype == np.uint8
    assert result.shape == (3, 7, 5, 1)
    assert all(bool(step.x.isfinite().all() and step.x0.isfinite().all()) for step in steps)
    assert result.std() > 5


def test_noises_differ_from_each_other_in_the_images() -> None:
    results = {images(make_model(noise)).tobytes() for noise in NOISES}
    assert len(results) == len(NOISES)


# --- image i


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_image_i_does_not_depend_on_the_batch_size(method: str, batch_size: int) -> None:
    """To one grey level: a network's float32 rounding may differ between batch sizes, and then be rounded apart."""
    model = make_model()
    whole = images(model, 7, method=method, num_inference_steps=6)
    made = Generator(model).sample(7, batch_size=batch_size, method=method, num_inference_steps=6)
    difference = np.abs(made.astype(int) - whole)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05


@pytest.mark.parametrize("method", METHODS)
def test_images_of_one_seed_differ_and_seeds_differ(method: str) -> None:
    results = [images(make_model(), 3, seed=seed, method=method) for seed in (0, 1)]
    assert len({image.tobytes() for result in results for image in result}) == 6


@pytest.mark.parametrize("method", ["ancestral", "posterior"])
def test_the_steps_draw_the_noise_that_is_asked_for(method: str) -> None:
    """A Bernoulli's own steps are told from Gaussian ones; for a Gaussian model the choice changes nothing."""
    for noise, changes in (("bernoulli", True), ("gaussian", False)):
        model = make_model(noise)
        own, normal = (
            latents(model, [(0, 1), (0, 2)], method=method, num_inference_steps=5, step_noise=choice)
            for choice in ("own", "gaussian")
        )
        assert torch.equal(own, normal) != changes
    with pytest.raises(InputError, match="step_noise: 'other'"):
        latents(make_model(), [(0, 1)], method=method, num_inference_steps=5, step_noise="other")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("handling", ["clip", "dynamic", "range"])
def test_x0_handling_bounds_the_predictions_of_every_sampler(method: str, handling: str) -> None:
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
def test_a_seed_out_of_range_is_named(seed: int) -> None:
    with pytest.raises(InputError, match=f"seed: {seed} must lie between 0 and 9223372036854775807"):
        images(make_model(), 1, seed=seed)


def test_one_seed_gives_the_same_images_whatever_the_global_generator() -> None:
    model = make_model()
    first = images(model, method="ancestral", seed=3)
    torch.manual_seed(123)
    np.testing.assert_array_equal(images(model, method="ancestral", seed=3), first)


@pytest.mark.parametrize(("total", "batch_size", "sizes"), [(7, 3, [3, 3, 1]), (4, 4, [4]), (2, 9, [2]), (0, 4, [])])
def test_batches_cover_all_images_in_order(total: int, batch_size: int, sizes: list[int]) -> None:
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
    method: str, steps: int, frames: int, returned: int
) -> None:
    model = make_model()
    options = {"num_inference_steps": steps, "method": method, "seed": 2}
    result = Generator(model).trajectory(2, frames, **options)
    assert result.shape == (returned, 2, 8, 6, 3)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[-1], Generator(model).sample(2, batch_size=2, **options))


def test_a_trajectory_starts_from_pure_noise_and_is_evenly_spaced() -> None:
    model = make_model()
    steps = steps_of(model, 2, num_inference_steps=6)
    frames = Generator(model).trajectory(2, 4, method="ddim", num_inference_steps=6)
    for frame, index in zip(frames, (0, 2, 4), strict=False):
        np.testing.assert_array_equal(frame, model.decode(steps[index].x))


# --- bad files


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> None:
    """Save the file again with changed settings (None deletes one) or other tensors."""
    with safe_open(path, framework="pt") as file:
        state = {**json.loads(file.metadata()["state"]), **changes}
    state = {key: value for key, value in state.items() if value is not None}
    content = {key: value.clone() for key, value in (tensors or load_file(path)).items()}
    save_file(content, path, metadata={"state": json.dumps(state)})


def without(path: Path, prefix: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in load_file(path).items() if not key.startswith(prefix)}


def assert_refused(path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_model(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_an_input_error_that_names_it_and_its_stage(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="train"):
        load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize("length", [0, 7, 500, -10])
def test_a_truncated_file_is_an_input_error(saved: Path, length: int) -> None:
    saved.write_bytes(saved.read_bytes()[:length])
    assert_refused(saved)


def test_a_foreign_file_is_an_input_error(saved: Path) -> None:
    save_file({"weight": torch.ones(3)}, saved, metadata={"format": "pt"})
    assert_refused(saved)


@pytest.mark.parametrize("version", [None, "ngldm-model-0", "other"])
def test_another_format_is_an_input_error_that_names_both(saved: Path, version: str | None) -> None:
    rewrite(saved, format=version)
    assert_refused(saved)
    with pytest.raises(InputError, match=FORMAT):
        load_model(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"unet": {**UNET, "widths": [16, 16]}},
        {"unet": {**UNET, "blocks_per_level": 2}},
        {"unet": {**UNET, "time_embedding": "siren"}},
        {"autoencoder": {**AUTOENCODERS["kl"], "width": 16}},
        {"autoencoder": AUTOENCODERS["identity"]},
    ],
    ids=["widths", "blocks", "embedding", "autoencoder width", "autoencoder kind"],
)
def test_weights_that_do_not_fit_the_settings_are_an_input_error(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, **change)
    assert_refused(saved)


@pytest.mark.parametrize("prefix", ["unet.conv_in.", "autoencoder.", "latent_mean", "latent_std"])
def test_missing_tensors_are_an_input_error(saved: Path, prefix: str) -> None:
    rewrite(saved, without(saved, prefix))
    assert_refused(saved)


@pytest.mark.parametrize("key", ["noise", "schedule", "unet", "autoencoder", "image_shape"])
def test_a_missing_setting_is_an_input_error(saved: Path, key: str) -> None:
    rewrite(saved, **{key: None})
    assert_refused(saved)


@pytest.mark.parametrize(
    "change",
    [{"noise": {"name": "cauchy", "params": {}}}, {"schedule": {"name": "none"}}, {"unet": {**UNET, "later": 1}}],
    ids=["noise", "schedule", "unet"],
)
def test_a_setting_that_this_version_does_not_know_is_an_input_error(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, **change)
    with pytest.raises(InputError):
        load_model(saved)


@pytest.mark.parametrize("name", ["latent_mean", "latent_std", "extent.low", "extent.mean"])
def test_statistics_of_another_shape_are_an_input_error(saved: Path, name: str) -> None:
    tensors = load_file(saved)
    rewrite(saved, {**tensors, name: torch.zeros(5, 3)})
    with pytest.raises(InputError, match=f"{saved}: .*{name} has shape"):
        load_model(saved)


def test_a_setting_out_of_range_is_named_with_its_file(saved: Path) -> None:
    rewrite(saved, schedule={"name": "linear", "num_train_timesteps": -3})
    with pytest.raises(InputError, match=f"{saved}: schedule.num_train_timesteps"):
        load_model(saved)


@pytest.fixture
def points_model(tmp_path: Path) -> Path:
    """A file of a model of points in the plane, with soft-logged data and none of its layers zero."""
    config = {
        "noise": {"name": "student_t", "params": {"df": 5.0}},
        "schedule": {"name": "cosine", "num_train_timesteps": 30, "beta_start": 1e-4, "beta_end": 0.02},
        "diffusion": {"forward": "marginal", "objective": "x0"},
        "mlp": {"width": 16, "depth": 2},
        "autoencoder": {"kind": "identity", "transform": "soft_log"},
        "dim": 2,
    }
    torch.manual_seed(0)
    statistics = LatentStatistics(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.25]))
    model = Model.build(config, statistics=statistics)
    for parameter in model.network.parameters():
        nn.init.normal_(parameter, std=0.3)
    model.save(tmp_path / "points.safetensors")
    return tmp_path / "points.safetensors"


def test_a_model_of_points_gives_float_points(points_model: Path) -> None:
    """Each point depends on its own seed, and what is decoded is sign(y) (exp|y| - 1) of the unstandardised latents."""
    generator = Generator(load_model(points_model))
    points = generator.sample(20, seed=3, method="ddim", num_inference_steps=5)
    assert (points.shape, points.dtype) == ((20, 2), np.float32)
    assert generator.sample(0).shape == (0, 2)
    again = generator.sample(5, seed=3, first=7, batch_size=2, method="ddim", num_inference_steps=5)
    np.testing.assert_allclose(again, points[7:12], rtol=1e-4)
    latents = sample_latents(
        generator.model, image_seeds(3, 0, 20), generator.options(method="ddim", num_inference_steps=5)
    )
    y = latents.numpy() * [0.5, 0.25] + [1.0, -2.0]
    np.testing.assert_allclose(points, np.sign(y) * np.expm1(np.abs(y)), rtol=1e-4, atol=1e-6)
    frames = generator.trajectory(4, 3, seed=3, method="ddim", num_inference_steps=5)
    np.testing.assert_allclose(frames[-1], points[:4], rtol=1e-4, atol=1e-6)


def test_points_out_of_range_are_refused(points_model: Path) -> None:
    with pytest.raises(InputError, match="points: 1 of 2 hold NaN or infinite numbers"):
        load_model(points_model).decode(torch.tensor([[0.0, 0.0], [1e3, 0.0]]))
