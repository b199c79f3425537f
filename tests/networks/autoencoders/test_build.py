"""The three kinds of autoencoder, their losses, and saving them."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from ngldm.io.errors import InputError
from ngldm.io.tensors import save_tensors
from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.build import (
    build_autoencoder,
    load_autoencoder,
    reconstruction_picture,
    reconstruction_psnr,
    save_autoencoder,
)
from ngldm.networks.autoencoders.kl import KLAutoencoder

GREY = (1, 8, 8)
PAPER = {"kind": "paper", "latent_channels": 2, "latent_size": 6, "width": 8}
KL = {"kind": "kl", "latent_channels": 3, "levels": 1, "width": 8, "kl_weight": 1e-3}
IDENTITY = {"kind": "identity"}
CONFIGS = {"paper": PAPER, "kl": KL, "identity": IDENTITY}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for a busy core make the many small operations here a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(config: dict[str, Any], shape: tuple[int, int, int] = GREY, seed: int = 0) -> Autoencoder:
    torch.manual_seed(seed)
    return build_autoencoder(config, shape)


def random_images(count: int, shape: tuple[int, int, int] = GREY, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0


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
def test_latents_have_the_stated_shape_and_images_come_back_in_theirs(config, image_shape, latent_shape):
    model = build(config, image_shape)
    x = random_images(2, image_shape)
    z = model.encode(x)
    assert model.latent_shape == latent_shape
    assert z.shape == (2, *latent_shape)
    assert model.decode(z).shape == x.shape


def test_identity_is_exact():
    model, x = build(IDENTITY), random_images(3)
    assert torch.equal(model.encode(x), x)
    assert torch.equal(model.decode(x), x)
    assert model.loss(x) == 0.0


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_paper_starts_as_a_bicubic_resize(channels):
    """Nearly. Extra latent channels are zero; too few lose the image's last ones."""
    model = build_autoencoder({**PAPER, "latent_channels": channels, "latent_size": 12}, (3, 16, 16))
    x = torch.rand(2, 3, 16, 16)
    shared = min(3, channels)
    small = F.interpolate(x[:, :shared], 12, mode="bicubic", align_corners=False)
    z = model.encode(x)
    torch.testing.assert_close(z[:, :shared], small, rtol=0, atol=0.02)
    assert not (z[:, shared:].abs() > 0.02).any()
    back = F.interpolate(small, 16, mode="bicubic", align_corners=False)
    torch.testing.assert_close(model.decode(z)[:, :shared], back, rtol=0, atol=0.06)


def test_paper_loss_is_the_mean_squared_error():
    model, x = build(PAPER), random_images(4)
    expected = (model.decode(model.encode(x)) - x).square().mean()
    torch.testing.assert_close(model.loss(x), expected)


def kl_with_weight(weight: float) -> KLAutoencoder:
    """The same weights for every `weight`, in double precision."""
    model = build(KL | {"kl_weight": weight}).double()
    assert isinstance(model, KLAutoencoder)
    return model


def loss_of(weight: float, x: Tensor) -> Tensor:
    return kl_with_weight(weight).loss(x, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("weight", [1e-3, 1.0, 50.0])
def test_kl_part_of_the_loss_is_the_divergence_per_image_dimension(weight):
    """The losses with this weight and with none differ by it alone: same posterior, same draw."""
    x = random_images(4).double()
    mean, logvar = kl_with_weight(weight).posterior(x)
    divergence = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum() / x.numel()
    assert divergence > 1e-3
    torch.testing.assert_close(loss_of(weight, x) - loss_of(0.0, x), weight * divergence)


def test_reconstruction_part_decodes_a_draw_from_the_posterior():
    model, x = kl_with_weight(0.0), random_images(4).double()
    mean, logvar = model.posterior(x)
    torch.manual_seed(7)
    draw = Normal(mean, (0.5 * logvar).exp()).sample()
    loss = model.loss(x, torch.Generator().manual_seed(7))
    torch.testing.assert_close(loss, (model.decode(draw) - x).square().mean())


def test_kl_loss_is_reproducible_through_its_generator_alone():
    model, x = build(KL), random_images(4)
    losses = []
    for global_seed, seed in [(0, 5), (1, 5), (1, 6)]:
        torch.manual_seed(global_seed)
        losses.append(model.loss(x, torch.Generator().manual_seed(seed)).item())
    assert losses[0] == losses[1]
    assert losses[1] != losses[2]


def test_kl_encode_is_the_posterior_mean_and_draws_nothing():
    model, x = build(KL), random_images(4)
    torch.manual_seed(0)
    first = model.encode(x)
    torch.manual_seed(1)
    assert torch.equal(model.encode(x), first)
    assert torch.equal(model.posterior(x)[0], first)


@pytest.mark.parametrize("bias", [1e4, -1e4])
def test_extreme_log_variances_keep_the_loss_finite(bias):
    model = build(KL)
    assert isinstance(model, KLAutoencoder)
    with torch.no_grad():
        model.encoder[-1].bias[3:] = bias
    assert torch.isfinite(model.loss(random_images(2)))


@pytest.mark.parametrize("config", [PAPER, KL], ids=["paper", "kl"])
def test_a_few_training_steps_reduce_the_loss(config):
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
def test_gradient_reaches_every_parameter(config):
    model = build(config)
    model.loss(random_images(4), torch.Generator().manual_seed(0)).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


@pytest.mark.parametrize("size", [8, 9, 10, 7, 5, 0, -2])
def test_paper_refuses_a_latent_that_unpadded_convolutions_do_not_reach(size):
    """The image's size itself, larger by an odd and an even number, an odd difference, nothing left."""
    with pytest.raises(InputError, match=rf"latent_size: {size} does not fit images of 8x8"):
        build(PAPER | {"latent_size": size})


@pytest.mark.parametrize("shape", [(1, 8, 10), (1, 10, 8)])
def test_paper_refuses_images_that_are_not_square(shape):
    with pytest.raises(InputError, match=f"{shape[1]}x{shape[2]}.*square"):
        build(PAPER, shape)


@pytest.mark.parametrize(("shape", "levels"), [((1, 8, 7), 1), ((1, 7, 8), 1), ((1, 8, 6), 2), ((1, 8, 8), 4)])
def test_kl_refuses_sides_that_are_not_multiples(shape, levels):
    with pytest.raises(InputError, match=rf"levels: {levels} .*{shape[1]}x{shape[2]}.*= {2**levels}"):
        build(KL | {"levels": levels}, shape)


@pytest.mark.parametrize("levels", [0, -1])
def test_kl_refuses_to_halve_less_than_once(levels):
    with pytest.raises(InputError, match=rf"autoencoder\.levels: {levels} "):
        build(KL | {"levels": levels})


def test_unknown_kind_is_refused_with_the_choices():
    with pytest.raises(InputError, match=r"autoencoder\.kind 'vq'.*identity, kl, paper"):
        build({"kind": "vq"})


@pytest.mark.parametrize("method", ["encode", "decode", "loss"])
def test_the_base_class_alone_cannot_be_used(method):
    with pytest.raises(TypeError, match="Autoencoder does not"):
        getattr(Autoencoder(), method)(torch.zeros(1))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_save_and_load_give_the_same_frozen_model(config, tmp_path):
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
def saved(tmp_path) -> Path:
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
def test_psnr_is_that_of_the_8_bit_reconstructions(config, batch_size):
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
def test_psnr_of_the_identity_is_100(batch_size):
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


def test_the_picture_has_originals_above_their_reconstructions() -> None:
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
