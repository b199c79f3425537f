"""The model file: what is saved comes back, and a bad file is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ngldm.data.cache.statistics import LatentExtent, LatentStatistics
from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array
from ngldm.model import FORMAT, Model, load_model
from ngldm.noise.laws.covariance import covariance_root, root_sha256, write_root
from ngldm.sampling.generator import Generator, sample_latents
from ngldm.sampling.samplers import SAMPLERS
from ngldm.sampling.seeds import image_seeds

METHODS = tuple(sorted(SAMPLERS))
MakeModel = Callable[..., Model]


def images(model: Model, count: int = 3, **options: Any) -> UInt8Array:
    """In one batch."""
    return Generator(model).sample(count, batch_size=count, **{"method": "ddim", "num_inference_steps": 4, **options})


@pytest.fixture
def saved(tmp_path: Path, make_model: MakeModel) -> Path:
    make_model().save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


# --- save and load


@pytest.mark.parametrize(("kind", "shape"), [("identity", (7, 5, 1)), ("kl", (8, 6, 3)), ("paper", (6, 6, 1))])
@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_model_gives_the_same_images(
    tmp_path: Path, make_model: MakeModel, kind: str, shape: tuple[int, ...], method: str
) -> None:
    model = make_model(kind=kind)
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    expected = images(model, method=method)
    np.testing.assert_array_equal(images(loaded, method=method), expected)
    assert expected.shape == (3, *shape)
    assert expected.std() > 5  # not a blank, which would equal anything


def test_the_loss_is_in_the_file_only_if_it_is_not_the_default(tmp_path: Path, make_model: MakeModel) -> None:
    config, kept = make_model().config, {}
    for loss in ("squared", "root"):
        Model.build({**config, "diffusion": {"objective": "x0", "loss": loss}}).save(tmp_path / loss)
        kept[loss] = load_model(tmp_path / loss)
    assert "loss" not in kept["squared"].config["diffusion"]  # type: ignore[operator]
    assert [model.diffusion.objective.loss for model in kept.values()] == ["squared", "root"]


@pytest.mark.parametrize("schedule", ["rectified_flow", "edm_ve", "stable"])
def test_a_preconditioned_model_keeps_what_was_measured(tmp_path: Path, schedule: str, make_model: MakeModel) -> None:
    """The data's deviation is in the file, and the loaded network is used with it."""
    config = dict(make_model().config)
    config |= {"schedule": {"name": schedule, "num_train_timesteps": 30}}
    config |= {"diffusion": {"objective": "x0", "preconditioning": "edm"}}
    standard = LatentExtent.standard(make_model().autoencoder.latent_shape)
    extent = replace(standard, std=0.6 * standard.std, mean=0.8 + standard.mean)
    torch.manual_seed(0)
    model = Model.build(config, extent=extent)
    nn.init.normal_(list(model.network.parameters())[-1], std=0.1)
    model.network.eval()
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.diffusion.preconditioning.data_std == pytest.approx(1.0)  # sqrt(0.6^2 + 0.8^2)
    np.testing.assert_array_equal(images(loaded), images(model))
    small = Model.build(config, extent=replace(standard, std=0.5 * standard.std))
    assert small.diffusion.preconditioning.data_std == pytest.approx(0.5)


NETWORKS: list[dict[str, Any]] = [
    {"kind": "dit", "options": {"width": 16, "depth": 1, "head_dim": 8}},
    {
        "kind": "diffusers_unet2d",
        "options": {
            "block_out_channels": [8, 8],
            "layers_per_block": 1,
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
            "norm_num_groups": 4,
            "attention_head_dim": 8,
        },
    },
]


def other_network(model: Model, network: dict[str, Any]) -> Model:
    """The model with another kind of network, no layer of which is zero."""
    config = {key: value for key, value in model.config.items() if key != "unet"}
    torch.manual_seed(0)
    other = replace(Model.build({**config, "network": network}, model.autoencoder), statistics=model.statistics)
    for parameter in other.network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    other.network.eval()
    return other


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["kind"])
def test_a_model_of_another_network_comes_back_with_its_kind_and_options(
    tmp_path: Path, make_model: MakeModel, network: dict[str, Any]
) -> None:
    """Also its head, which `stein` needs."""
    model = other_network(make_model(), network)
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.config["network"] == network
    assert loaded.network_kind == network["kind"]
    assert loaded.parameter_count == sum(p.numel() for p in model.network.parameters())
    for method in ("ddim", "stein"):
        expected = images(model, method=method)
        np.testing.assert_array_equal(images(loaded, method=method), expected)
        assert expected.std() > 5


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"kind": "their_net"}, r"unknown network\.kind 'their_net'; choose one of: .*dit, mlp, unet"),
        ({"options": {"widths": [8]}}, "network 'dit' has no parameter 'widths'"),
        ({"options": None}, "options: None is not a value of type dict"),
    ],
)
def test_an_unknown_network_is_named_with_its_file(
    tmp_path: Path, make_model: MakeModel, network: dict[str, Any], message: str
) -> None:
    path = tmp_path / "model.safetensors"
    other_network(make_model(), NETWORKS[0]).save(path)
    rewrite(path, network=network)
    with pytest.raises(InputError, match=f"{path}: {message}"):
        load_model(path)


def test_settings_statistics_and_noise_come_back(saved: Path, make_model: MakeModel) -> None:
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


def test_the_metadata_is_json_that_names_noise_and_format(saved: Path, make_model: MakeModel) -> None:
    with safe_open(saved, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    assert isinstance(state.pop("crc32"), int)
    assert state == {"format": FORMAT, **make_model().config}
    assert state["noise"] == {"name": "laplace", "params": {}}


def test_a_saved_model_saves_again_to_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    load_model(saved).save(tmp_path / "again.safetensors")
    (tensors, again) = (load_file(path) for path in (saved, tmp_path / "again.safetensors"))
    assert all(torch.equal(tensors[key], again[key]) for key in tensors | again)


def test_parameters_of_the_noise_survive(tmp_path: Path, make_model: MakeModel) -> None:
    make_model("student_t", params={"df": 5.5}).save(tmp_path / "a.safetensors")
    make_model("student_t", params={"df": 9.0}).save(tmp_path / "b.safetensors")
    first, second = load_model(tmp_path / "a.safetensors"), load_model(tmp_path / "b.safetensors")
    assert first.diffusion.noise.params == {"df": 5.5}
    assert first.diffusion.noise.excess_kurtosis == pytest.approx(4.0)
    assert not np.array_equal(images(first), images(second))


def test_the_covariance_of_the_noise_is_in_the_file(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also inside other noise. The model is sampled without the file that the covariance came from."""
    latents = np.random.default_rng(0).standard_normal((50, 2, 4, 3)).cumsum(3).astype(np.float32)
    root, path = covariance_root(latents)[0], tmp_path / "root.npy"
    write_root(root, path)
    own = {"distribution": "covariance", "file": str(path), "sha256": root_sha256(root)}
    params: Any = {"laws": [{"distribution": "gaussian"}, own], "weights": [0.5, 0.5]}
    model = make_model("choice", params=params, head="none")
    expected = images(model)
    model.save(tmp_path / "model.safetensors")
    path.unlink()
    monkeypatch.setattr("ngldm.noise.laws.covariance.ROOTS", {})  # as in another process
    np.testing.assert_array_equal(images(load_model(tmp_path / "model.safetensors")), expected)
    key = f"noise.{own['sha256']}"
    rewrite(tmp_path / "model.safetensors", {key: 1.5 * root})
    with pytest.raises(InputError, match=r"the root with the SHA-256 .* is damaged"):
        load_model(tmp_path / "model.safetensors")


# --- bad files


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> None:
    """Save the file again with other tensors, or with changed settings: a part is updated, None deletes it."""
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    for key, value in changes.items():
        state[key] = {**state[key], **value} if isinstance(value, dict) else value
    state = {key: value for key, value in state.items() if value is not None and key != "crc32"}
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
        {"unet": {"widths": [16, 16]}},
        {"unet": {"blocks_per_level": 2}},
        {"unet": {"time_embedding": "siren"}},
        {"autoencoder": {"width": 16}},
        {"autoencoder": {"kind": "identity"}},
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
    [{"noise": {"name": "cauchy", "params": {}}}, {"schedule": {"name": "none"}}, {"unet": {"later": 1}}],
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


@pytest.mark.parametrize(("noise", "head"), [("multivariate_t", "scalar"), ("student_t", "element")])
def test_a_model_of_points_with_a_head_is_sampled_by_stein(tmp_path: Path, noise: str, head: str) -> None:
    """The head comes back from the file; point i does not depend on the others."""
    config = {
        "noise": {"name": noise, "params": {"df": 5.0}},
        "schedule": {"name": "cosine", "num_train_timesteps": 30},
        "diffusion": {"objective": "v", "stein_head": head},
        "mlp": {"width": 16, "depth": 2},
        "autoencoder": {"kind": "identity"},
        "dim": 3,
    }
    torch.manual_seed(0)
    model = Model.build(config)
    for parameter in model.network.parameters():
        nn.init.normal_(parameter, std=0.3)
    model.save(tmp_path / "model.safetensors")
    expected = Generator(model).sample(9, seed=1, method="stein", num_inference_steps=6)
    generator = Generator(load_model(tmp_path / "model.safetensors"))
    np.testing.assert_allclose(generator.sample(9, seed=1, method="stein", num_inference_steps=6), expected, rtol=1e-5)
    alone = generator.sample(1, seed=1, first=4, method="stein", num_inference_steps=6)
    np.testing.assert_allclose(alone[0], expected[4], rtol=1e-3, atol=1e-4)
    assert np.unique(expected).size == expected.size
    if head == "scalar":  # what an older version wrote: the output meant another K_hat
        rewrite(tmp_path / "model.safetensors", scalar_head=None)
        with pytest.raises(InputError, match="scalar head was trained by an older version"):
            load_model(tmp_path / "model.safetensors")


def test_noise_filtered_along_rows_is_refused_for_points() -> None:
    config = {
        "noise": {"name": "power_law", "params": {}},
        "schedule": {"name": "cosine", "num_train_timesteps": 30},
        "diffusion": {"objective": "v"},
        "mlp": {"width": 16, "depth": 2},
        "autoencoder": {"kind": "identity"},
        "dim": 3,
    }
    with pytest.raises(InputError, match=r"noise 'power_law' shares randomness over rows and columns"):
        Model.build(config)


def test_points_out_of_range_are_refused(points_model: Path) -> None:
    with pytest.raises(InputError, match="points: 1 of 2 hold NaN or infinite numbers"):
        load_model(points_model).decode(torch.tensor([[0.0, 0.0], [1e3, 0.0]]))


def test_a_model_of_an_older_version_that_wrote_an_unused_gamma_still_loads(saved: Path) -> None:
    expected = Generator(load_model(saved)).sample(2, 0)
    rewrite(saved, diffusion={"forward": "marginal", "objective": "eps", "weighting": "none", "gamma": 5.0})
    np.testing.assert_array_equal(Generator(load_model(saved)).sample(2, 0), expected)
