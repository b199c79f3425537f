"""Pretrained autoencoders, with small ones that the tests save: numbers as diffusers has them, files, refusals."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DModel, VQModel
from diffusers.models import modeling_utils
from huggingface_hub import constants
from torch import nn

from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.io.tensors import load_tensors
from ngldm.model import Model, load_model
from ngldm.networks.autoencoders.build import build_autoencoder, load_autoencoder, save_autoencoder
from ngldm.networks.autoencoders.names import PRECISIONS
from ngldm.networks.autoencoders.pretrained import WEIGHTS, PretrainedSettings
from ngldm.sampling.generator import Generator

BLOCKS = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
SHAPE = (3, 16, 8)


def kl(**config: object) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=[8, 8],
        norm_num_groups=4,
        latent_channels=2,
        sample_size=16,
        **{**BLOCKS, "scaling_factor": 0.3, "shift_factor": 0.2, **config},
    )


def tiny() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=[8, 8, 8],
        decoder_block_out_channels=[8, 8, 8],
        num_encoder_blocks=[1, 1, 1],
        num_decoder_blocks=[1, 1, 1],
        latent_channels=5,
        scaling_factor=0.7,
    )


def vq() -> VQModel:
    return VQModel(
        block_out_channels=[8, 8], norm_num_groups=4, latent_channels=3, num_vq_embeddings=16, sample_size=16, **BLOCKS
    )


MAKERS = {"AutoencoderKL": kl, "AutoencoderTiny": tiny, "VQModel": vq}
LATENTS = {"AutoencoderKL": (2, 8, 4), "AutoencoderTiny": (5, 4, 2), "VQModel": (3, 8, 4)}


def save(folder: Path, name: str = "AutoencoderKL") -> Path:
    torch.manual_seed(0)
    MAKERS[name]().save_pretrained(folder)
    return folder


def config(folder: Path | str, **options: object) -> dict[str, object]:
    return {"kind": "diffusers", "options": {"model": str(folder), **options}}


def images(count: int = 3, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0


@pytest.mark.parametrize("name", MAKERS)
def test_latents_and_images_are_those_of_diffusers_with_its_factors(name: str, tmp_path: Path) -> None:
    theirs = type(MAKERS[name]()).from_pretrained(save(tmp_path, name))
    ours = build_autoencoder(config(tmp_path), SHAPE)
    x = images()
    with torch.no_grad():
        encoded = theirs.encode(x)
        z = encoded.latent_dist.mean if name == "AutoencoderKL" else encoded.latents
        shift = (theirs.config.get("shift_factor") or 0.0) if name != "VQModel" else 0.0
        expected = (z - shift) * theirs.config.scaling_factor
        torch.testing.assert_close(ours.encode(x), expected)
        torch.testing.assert_close(ours.decode(expected), theirs.decode(z).sample, rtol=1e-4, atol=1e-5)
    assert ours.latent_shape == tuple(expected.shape[1:]) == LATENTS[name]
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    assert ours.weights_sha256 == sha256_file(tmp_path / WEIGHTS)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_computes_in_its_precision_and_gives_float32(precision: str, tmp_path: Path) -> None:
    """Rounded to 8 bits of mantissa in bf16 and 11 in fp16, but no more."""
    save(tmp_path)
    ours, exact = (build_autoencoder(config(tmp_path, precision=p), SHAPE) for p in (precision, "fp32"))
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    assert {parameter.dtype for parameter in ours.parameters()} == {dtypes[precision]}
    x = images()
    with torch.no_grad():
        z, wanted = ours.encode(x), exact.encode(x)
        decoded = ours.decode(z)
    assert z.dtype == decoded.dtype == torch.float32
    error = float((z - wanted).norm() / wanted.norm())
    assert error <= {"fp32": 0.0, "bf16": 0.05, "fp16": 0.005}[precision]
    assert (error > 0.0) is (precision != "fp32")


def test_large_images_are_done_in_tiles_if_asked(tmp_path: Path) -> None:
    """Tiles of 16x16 with an overlap do not see the whole image; one that fits in a tile is done as ever."""
    theirs = AutoencoderKL.from_pretrained(save(tmp_path))
    theirs.enable_tiling()
    shape = (3, 32, 32)
    tiled, whole = (build_autoencoder(config(tmp_path, tiling=tiling), shape) for tiling in (True, False))
    x = images(2, shape)
    with torch.no_grad():
        expected = (theirs.encode(x).latent_dist.mean - 0.2) * 0.3
        torch.testing.assert_close(tiled.encode(x), expected)
        assert not torch.allclose(tiled.encode(x), whole.encode(x))
        small = images(2)
        assert torch.equal(tiled.encode(small), whole.encode(small))
    save(tmp_path / "vq", "VQModel")
    with pytest.raises(InputError, match=r"autoencoder\.options\.tiling: true, but a VQModel has no tiles"):
        build_autoencoder(config(tmp_path / "vq", tiling=True), SHAPE)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_file_that_carries_the_weights_needs_nothing_else(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(modeling_utils.logger, "warning", said.append)  # each stage would print it
    folder = save(tmp_path / "their", name)
    model = build_autoencoder(config(folder, precision=precision), SHAPE)
    save_autoencoder(model, tmp_path / "a.safetensors")
    folder.rename(tmp_path / "gone")
    loaded = load_autoencoder(tmp_path / "a.safetensors", SHAPE)
    x = images()
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert torch.equal(loaded.decode(model.encode(x)), model.decode(model.encode(x)))
    assert loaded.settings == model.settings
    assert loaded.weights_sha256 == sha256_file(tmp_path / "gone" / WEIGHTS)
    assert said == []


def test_a_file_that_refers_to_the_weights_needs_the_same(tmp_path: Path) -> None:
    folder = save(tmp_path / "their")
    model = build_autoencoder(config(folder, bundle_autoencoder=False), SHAPE)
    file = tmp_path / "a.safetensors"
    save_autoencoder(model, file)
    assert load_tensors(file)[0] == {}
    x = images()
    assert torch.equal(load_autoencoder(file, SHAPE).encode(x), model.encode(x))
    torch.manual_seed(1)
    kl().save_pretrained(folder)
    with pytest.raises(InputError, match=rf"options\.sha256: {model.weights_sha256}, but .* has [0-9a-f]{{64}}"):
        load_autoencoder(file, SHAPE)
    folder.rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"no file .*their/config.json\. .* put it there: the file refers to it"):
        load_autoencoder(file, SHAPE)


def diffusion_model(folder: Path, **options: object) -> Model:
    settings = {
        "noise": {"name": "laplace", "params": {}},
        "schedule": {"name": "cosine", "num_train_timesteps": 30},
        "diffusion": {"objective": "x0"},
        "network": {"kind": "dit", "options": {"width": 16, "depth": 1, "head_dim": 8}},
        "image_shape": list(SHAPE),
    }
    autoencoder = build_autoencoder(config(folder, **options), SHAPE)
    torch.manual_seed(0)
    model = Model.build({**settings, "autoencoder": autoencoder.settings}, autoencoder)
    for parameter in model.network.parameters():
        nn.init.normal_(parameter, std=0.1)
    model.network.eval()
    return model


@pytest.mark.parametrize("carried", [True, False])
def test_the_model_file_carries_it_or_refers_to_it(carried: bool, tmp_path: Path) -> None:
    folder = save(tmp_path / "their")
    model = diffusion_model(folder, bundle_autoencoder=carried, precision="bf16")
    file = tmp_path / "model.safetensors"
    model.save(file)
    tensors, state = load_tensors(file)
    assert any(name.startswith("autoencoder.") for name in tensors) is carried
    options = state["autoencoder"]["options"]  # type: ignore[index]
    assert (options["model"], options["sha256"]) == (str(folder), sha256_file(folder / WEIGHTS))
    expected = Generator(model).sample(2, seed=0, method="ddim", num_inference_steps=3)
    assert (Generator(load_model(file)).sample(2, seed=0, method="ddim", num_inference_steps=3) == expected).all()
    folder.rename(tmp_path / "gone")
    if carried:
        load_model(file)
    else:
        with pytest.raises(InputError, match=f"{file}: autoencoder.options.model: no file {folder}"):
            load_model(file)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with one repository, as `hf download` leaves it, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing answers there
    repository = tmp_path / "hub" / "models--someone--vae"
    save(repository / "snapshots" / COMMIT / "first" / "vae")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_repository_in_the_cache_is_used_without_a_network_and_its_commit_recorded(cache: Path) -> None:
    model = build_autoencoder(config("someone/vae", subfolder="first/vae", bundle_autoencoder=False), SHAPE)
    options = model.settings["options"]
    assert isinstance(options, dict)
    assert (options["model"], options["revision"], options["download"]) == ("someone/vae", COMMIT, False)
    save_autoencoder(model, cache / "a.safetensors")
    (cache / "hub" / "models--someone--vae" / "refs" / "main").write_text("f" * 40)  # a newer version
    assert torch.equal(load_autoencoder(cache / "a.safetensors", SHAPE).encode(images()), model.encode(images()))
    (cache / "hub").rename(cache / "gone")
    with pytest.raises(InputError, match=rf"not in the hub's cache .*`hf download someone/vae --revision {COMMIT}`"):
        load_autoencoder(cache / "a.safetensors", SHAPE)


def test_without_leave_the_hub_is_not_asked_and_without_a_network_it_is_said_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr("socket.socket.connect", lambda *arguments: asked.append(arguments))
        with pytest.raises(InputError) as caught:
            build_autoencoder(config("someone/other"), SHAPE)
    assert asked == []
    for words in ("'someone/other' is no folder", "cache", "download=true", "hf download someone/other", "copy the"):
        assert words in str(caught.value)
    with pytest.raises(InputError, match=r"the hub did not give it \(.*Without one, copy the folder"):
        build_autoencoder(config("someone/other", download=True), SHAPE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "???"}, r"options\.model: '\?\?\?' must be a folder, or the id"),
        ({"precision": "fp8"}, "unknown autoencoder.options.precision 'fp8'; choose one of: bf16, fp16, fp32"),
        ({"tiling": 1}, r"options\.tiling: 1 must be true or false"),
        ({"revision": 3}, r"options\.revision: 3 must be a text, or null"),
        ({"model": "./nowhere"}, r"no file nowhere/config\.json\. Give a folder that diffusers' save_pretrained"),
        ({"sha256": "0" * 64}, rf"options\.sha256: {'0' * 64}, but .* has "),
        ({"scale": 2.0}, "autoencoder 'diffusers' has no parameter 'scale'; it has: model, revision"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        build_autoencoder(config(save(tmp_path), **options), SHAPE)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 16, 16), "takes images of 3 channels, these have 1"),
        ((3, 15, 16), r"makes images of \(14, 16\) from images of 15x16; each side must be a multiple of 2"),
        ((3,), "autoencoder.kind: 'diffusers' is for images"),
    ],
)
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        build_autoencoder(config(save(tmp_path)), shape)


def test_another_class_and_damaged_weights_are_refused(tmp_path: Path) -> None:
    UNet2DModel(block_out_channels=[32, 32, 32, 32], layers_per_block=1).save_pretrained(tmp_path / "unet")
    with pytest.raises(InputError, match="of a diffusers autoencoder 'UNet2DModel'; choose one of: AutoencoderKL"):
        build_autoencoder(config(tmp_path / "unet"), SHAPE)
    folder = save(tmp_path / "vae")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(InputError, match=r"its config asks for \d+ weights, but .* has 1000 bytes"):
        build_autoencoder(config(folder), SHAPE)


def test_without_diffusers_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"autoencoder.kind 'diffusers' needs .* pip install 'ngldm\[diffusers\]'"):
        build_autoencoder(config(tmp_path), SHAPE)


def test_settings_know_a_folder_from_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vae").mkdir()
    settings = PretrainedSettings("vae")
    assert settings.is_path
    assert not replace(settings, model="someone/vae").is_path
    assert replace(settings, model="~/vae").is_path
