"""Autoencoders of each kind: their shapes, that they learn, saving and loading, the PSNR."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.io.tensors import save_tensors
from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.build import (
    AUTOENCODERS,
    load_autoencoder,
    reconstruction_picture,
    reconstruction_psnr,
    save_autoencoder,
)

GREY = (1, 8, 8)
PAPER = {"kind": "paper", "latent_channels": 2, "latent_size": 6, "width": 8}
KL = {"kind": "kl", "latent_channels": 3, "levels": 1, "width": 8, "kl_weight": 1e-3}
IDENTITY = {"kind": "identity"}
CONFIGS = {"paper": PAPER, "kl": KL, "identity": IDENTITY}


def uint8_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


@pytest.mark.parametrize(
    ("config", "image_shape", "latent_shape"),
    [
        (PAPER, (1, 8, 8), (2, 6, 6)),
        (PAPER | {"latent_channels": 3, "latent_size": 24}, (3, 32, 32), (3, 24, 24)),
        (PAPER | {"latent_size": 1}, (1, 7, 7), (2, 1, 1)),
        (KL, (1, 8, 8), (3, 4, 4)),
        (KL | {"levels": 2}, (1, 8, 8), (3, 2, 2)),
        (KL | {"levels": 2, "latent_channels": 4, "width": 6}, (3, 8, 12), (4, 2, 3)),
        (IDENTITY, (3, 5, 7), (3, 5, 7)),
    ],
)
def test_latents_have_the_stated_shape_and_images_come_back_in_theirs(
    config, image_shape, latent_shape, build, random_images
):
    model = build(config, image_shape)
    x = random_images(2, image_shape)
    z = model.encode(x)
    assert model.latent_shape == latent_shape
    assert z.shape == (2, *latent_shape)
    assert model.decode(z).shape == x.shape


@pytest.mark.parametrize("config", [PAPER, KL], ids=["paper", "kl"])
def test_a_few_training_steps_reduce_the_loss(config, build, random_images):
    """Smooth images, which a latent can hold; to less than half."""
    model = build(config)
    x = torch.nn.functional.interpolate(random_images(16, (1, 2, 2)), size=(8, 8), mode="bilinear")
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        loss = model.loss(x, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("config", [PAPER, KL], ids=["paper", "kl"])
def test_gradient_reaches_every_parameter(config, build, random_images):
    model = build(config)
    model.loss(random_images(4), torch.Generator().manual_seed(0)).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_unknown_kind_is_refused_with_the_choices(build):
    with pytest.raises(InputError, match=r"autoencoder\.kind 'vq'.*identity, kl, paper"):
        build({"kind": "vq"})


@pytest.mark.parametrize("key", ["latent_channels", "latent_size", "width"])
def test_a_missing_setting_is_named(key, build):
    with pytest.raises(InputError, match=f"^{key}: None is not a value of type int"):
        build({k: v for k, v in PAPER.items() if k != key})


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_save_and_load_give_the_same_frozen_model(config, tmp_path, build, random_images):
    model, x = build(config), random_images(3)
    save_autoencoder(model, tmp_path / "a.safetensors")
    torch.manual_seed(1)
    loaded = load_autoencoder(tmp_path / "a.safetensors", GREY)
    assert type(loaded) is type(model)
    assert loaded.settings == config
    assert loaded.latent_shape == model.latent_shape
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert torch.equal(loaded.decode(model.encode(x)), model.decode(model.encode(x)))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.fixture
def saved(tmp_path, build) -> Path:
    save_autoencoder(build(PAPER), tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def error_of(path: Path, shape: tuple[int, int, int] = GREY) -> str:
    with pytest.raises(InputError) as caught:
        load_autoencoder(path, shape)
    return str(caught.value)


def test_missing_file_is_named_with_the_stage_that_makes_it(tmp_path):
    message = error_of(tmp_path / "a.safetensors")
    assert str(tmp_path / "a.safetensors") in message
    assert "autoencoder" in message.replace(str(tmp_path), "")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_damaged_file_is_named(saved, keep):
    """Cut to nothing, in the header's length, in the header, in the middle, by one byte."""
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else keep])
    assert str(saved) in error_of(saved)


@pytest.mark.parametrize("content", [b"not safetensors at all", b"\x00" * 64, b"\xff" * 64])
def test_file_of_another_format_is_named(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    assert str(tmp_path / "a.safetensors") in error_of(tmp_path / "a.safetensors")


@pytest.mark.parametrize("state", [{"step": 3}, {}])
def test_checkpoint_of_another_kind_is_named(tmp_path, state):
    save_tensors({"w": torch.zeros(2)}, state, tmp_path / "a.safetensors")
    message = error_of(tmp_path / "a.safetensors")
    assert str(tmp_path / "a.safetensors") in message
    assert "holds no autoencoder" in message


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 10, 10), (1, 9, 9), (1, 8, 10), (1, 4, 4)])
def test_other_image_shape_is_refused(saved, shape):
    """Other channels, another number of layers, and sizes that the settings do not fit at all."""
    assert str(shape) in (message := error_of(saved, shape)) or f"{shape[1]}x{shape[2]}" in message


@pytest.mark.parametrize("batch_size", [1, 3, 256])
@pytest.mark.parametrize("config", [PAPER, KL], ids=["paper", "kl"])
def test_psnr_is_that_of_the_8_bit_reconstructions(config, batch_size, build):
    """Weights blown up, so that some reconstructions have to be clipped."""
    model, images = build(config), uint8_images(7)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
        floats = torch.from_numpy(images.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
        decoded = model.decode(model.encode(floats)).numpy().transpose(0, 2, 3, 1)
    decoded = np.clip(np.rint((decoded.astype(np.float64) + 1) * 127.5), 0, 255)
    expected = 10 * math.log10(255**2 / np.mean((decoded - images) ** 2))
    assert reconstruction_psnr(model, images, batch_size) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("batch_size", [2, 256])
def test_psnr_of_the_identity_is_100(batch_size, build):
    assert reconstruction_psnr(build(IDENTITY), uint8_images(5), batch_size) == 100.0


def test_psnr_of_an_error_of_one_level():
    """Every pixel off by one of 255 levels: 20 log10 255 = 48.13 dB."""

    class Brighter(Autoencoder):
        def encode(self, x: Tensor) -> Tensor:
            return x

        def decode(self, z: Tensor) -> Tensor:
            return z + 1.0 / 127.5

    images = np.minimum(uint8_images(5), 254)
    assert reconstruction_psnr(Brighter(), images, 2) == pytest.approx(20 * math.log10(255), abs=1e-9)


def test_the_picture_has_originals_above_their_reconstructions(build) -> None:
    """8x8 pixels at 6 times their size, in cells of 48 + 2 pixels."""
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    picture = reconstruction_picture(build(IDENTITY), images, count=3)
    assert picture.shape == (2 * 50 + 2, 3 * 50 + 2, 1)
    cell = images[1].repeat(6, axis=0).repeat(6, axis=1)
    assert np.array_equal(picture[2:50, 52:100], cell)
    assert np.array_equal(picture[52:100, 52:100], cell)  # the identity loses nothing
    other = reconstruction_picture(build(KL), images, count=3)
    assert np.array_equal(other[2:50, 52:100], cell)
    assert not np.array_equal(other[52:100, 52:100], cell)


def test_one_of_ones_own_gets_its_options_and_comes_back_from_its_file(build, tmp_path, monkeypatch) -> None:
    """The keys of ngldm's own kinds, which every params.yaml has, are not its options."""
    monkeypatch.setattr(AUTOENCODERS, "entries", dict(AUTOENCODERS.entries))

    class Scaled(Autoencoder):
        def __init__(self, shape: tuple[int, ...], width: float) -> None:
            super().__init__()
            self.latent_shape = shape
            self.width = torch.nn.Parameter(torch.tensor(width, dtype=torch.float64))

        def encode(self, x: Tensor) -> Tensor:
            return x * self.width

    @AUTOENCODERS.register("scaled")
    def scaled(shape: tuple[int, ...], width: float = 2.0) -> Autoencoder:
        return Scaled(shape, width)

    x = torch.ones(1, *GREY)
    assert float(build({**KL, "kind": "scaled"}).encode(x).mean()) == 2.0
    model = build({**KL, "kind": "scaled", "options": {"width": 3.0}})
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    save_autoencoder(model, tmp_path / "a.safetensors")
    loaded = load_autoencoder(tmp_path / "a.safetensors", GREY)
    assert torch.equal(loaded.encode(x), 3.0 * x)
    with pytest.raises(InputError, match="autoencoder 'scaled' has no parameter 'levels'; it has: width"):
        build({"kind": "scaled", "options": {"levels": 1}})
    with pytest.raises(InputError, match=r"options: \[3\] is not a value of type dict"):
        build({"kind": "scaled", "options": [3]})
