"""Autoencoders between images and latents. Trained first, then frozen.

Images are float (B, C, H, W) in [-1, 1]; latents are float (B, c, h, w), unbounded and not yet standardised
(`ngldm.latents` does that).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.checkpoint import load_tensors, save_tensors
from ngldm.errors import InputError, unknown
from ngldm.images import UInt8Array, to_float, to_uint8

KINDS = ("paper", "kl", "identity")


class Autoencoder(nn.Module):
    """What every kind offers: `encode`, `decode`, `loss` and the latent's shape."""

    latent_shape: tuple[int, int, int]  # (c, h, w)
    settings: Mapping[str, Any]  # what `build_autoencoder` made it from

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to latents (B, c, h, w)."""
        raise TypeError(f"{type(self).__name__} does not encode")

    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, c, h, w) to images (B, C, H, W), nominally in [-1, 1] but not clipped."""
        raise TypeError(f"{type(self).__name__} does not decode")

    def loss(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The training loss of a batch of images, a scalar. `generator` draws what a kind needs at random."""
        return F.mse_loss(self.decode(self.encode(x)), x)


class IdentityAutoencoder(Autoencoder):
    """Pixels as latents: diffusion in image space, to compare with."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.latent_shape = image_shape

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z


class PaperAutoencoder(Autoencoder):
    """The paper's shape: images (C, S, S) to latents (c, s, s) with s a little below S (32 to 24 for CIFAR-10).

    The paper gives the shapes only. Each way is a bicubic resize plus what convolutions add to it: each unpadded 3x3
    convolution takes two pixels off a side, so (S - s) / 2 of them lead from S to s, and as many transposed ones lead
    back. They start next to zero, so that training starts from the resize (32 dB on CIFAR-10) and not far below it.
    """

    shrink: Tensor
    grow: Tensor

    def __init__(self, image_shape: tuple[int, int, int], latent_channels: int, latent_size: int, width: int) -> None:
        super().__init__()
        channels, height, side = image_shape
        steps, odd = divmod(side - latent_size, 2)
        if odd or steps < 1 or latent_size < 1 or height != side:
            raise InputError(
                f"autoencoder.latent_size: {latent_size} does not fit images of {height}x{side}; kind 'paper' "
                "needs square images and a latent side smaller by an even number (32 to 24, 8 to 6)"
            )
        self.latent_shape = (latent_channels, latent_size, latent_size)
        down: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.SiLU()]
        up: list[nn.Module] = [nn.Conv2d(latent_channels, width, 3, padding=1), nn.SiLU()]
        for _ in range(steps):
            down += [nn.Conv2d(width, width, 3), nn.SiLU()]
            up += [nn.ConvTranspose2d(width, width, 3), nn.SiLU()]
        self.encoder = nn.Sequential(*down, _faint(nn.Conv2d(width, latent_channels, 3, padding=1)))
        self.decoder = nn.Sequential(*up, _faint(nn.Conv2d(width, channels, 3, padding=1)))
        self.register_buffer("shrink", _resize_matrix(side, latent_size), persistent=False)
        self.register_buffer("grow", _resize_matrix(latent_size, side), persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        z: Tensor = _with_channels(self.shrink @ x @ self.shrink.T, self.latent_shape[0]) + self.encoder(x)
        return z

    def decode(self, z: Tensor) -> Tensor:
        residual: Tensor = self.decoder(z)
        return _with_channels(self.grow @ z @ self.grow.T, residual.shape[1]) + residual


def _faint(last: nn.Conv2d) -> nn.Conv2d:
    """A branch's last convolution with small weights: the branch is nearly nothing, its gradient is not."""
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.zero_()  # type: ignore[union-attr]
    return last


def _resize_matrix(size: int, new: int) -> Tensor:
    """(new, size): the bicubic resize of one dimension; torch's own has no gradient on GPUs whose bits repeat."""
    return F.interpolate(torch.eye(size)[None, None], (new, size), mode="bicubic", align_corners=False)[0, 0]


def _with_channels(x: Tensor, channels: int) -> Tensor:
    """(B, C, H, W) with the last channels cut off, or channels of zeros after them."""
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm and SiLU before each, and a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
        self.layers = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class KLAutoencoder(Autoencoder):
    """A downsampling variational autoencoder with a small KL weight (Rombach et al. 2022).

    `encode` gives the posterior's mean; the loss adds `kl_weight` times the KL divergence from N(0, 1) per image
    dimension. Each level halves the side, so the image's sides must be multiples of 2**levels.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_channels: int,
        levels: int,
        width: int,
        kl_weight: float,
    ) -> None:
        super().__init__()
        channels, height, side = image_shape
        if levels < 1 or height % 2**levels or side % 2**levels:
            raise InputError(
                f"autoencoder.levels: {levels} does not fit images of {height}x{side}; each side must be a "
                f"multiple of 2**levels = {2**levels}"
            )
        self.kl_weight = kl_weight
        self.latent_shape = (latent_channels, height // 2**levels, side // 2**levels)
        down: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        up: list[nn.Module] = [nn.Conv2d(latent_channels, width, 3, padding=1), ConvBlock(width)]
        for _ in range(levels):
            down += [ConvBlock(width), nn.Conv2d(width, width, 3, stride=2, padding=1)]
            up += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1), ConvBlock(width)]
        self.encoder = nn.Sequential(*down, ConvBlock(width), nn.Conv2d(width, 2 * latent_channels, 3, padding=1))
        self.decoder = nn.Sequential(*up, nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (B, c, h, w)."""
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        x: Tensor = self.decoder(z)
        return x

    def loss(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        mean, logvar = self.posterior(x)
        eps = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        reconstruction = F.mse_loss(self.decode(mean + (0.5 * logvar).exp() * eps), x)
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum() / x.numel()
        return reconstruction + self.kl_weight * kl


def build_autoencoder(config: Mapping[str, Any], image_shape: tuple[int, int, int]) -> Autoencoder:
    """The autoencoder that a configuration names.

    Args:
        config: `kind`, one of `KINDS`; for "paper" also latent_channels, latent_size, width; for "kl"
            latent_channels, levels, width, kl_weight. Other keys are ignored.
        image_shape: (C, H, W).

    Raises:
        InputError: on an unknown kind, or a latent that the image's size does not allow.
    """
    model = _make(config, image_shape)
    model.settings = dict(config)
    return model


def _make(config: Mapping[str, Any], image_shape: tuple[int, int, int]) -> Autoencoder:
    kind = config["kind"]
    if kind == "identity":
        return IdentityAutoencoder(image_shape)
    if kind == "paper":
        return PaperAutoencoder(image_shape, config["latent_channels"], config["latent_size"], config["width"])
    if kind == "kl":
        return KLAutoencoder(
            image_shape, config["latent_channels"], config["levels"], config["width"], config["kl_weight"]
        )
    raise unknown("autoencoder.kind", kind, KINDS)


def save_autoencoder(model: Autoencoder, path: Path) -> None:
    """Write weights and settings to one file, whole or not at all."""
    save_tensors(dict(model.state_dict()), {"autoencoder": model.settings}, path)


def load_autoencoder(path: Path, image_shape: tuple[int, int, int]) -> Autoencoder:
    """What `save_autoencoder` wrote, for images of that shape (C, H, W), ready to encode and decode.

    Raises:
        InputError: the file is missing, damaged, or does not fit the images.
    """
    tensors, state = load_tensors(path, made_by="the stage `autoencoder`")
    if "autoencoder" not in state:
        raise InputError(f"{path}: holds no autoencoder")
    model = build_autoencoder(state["autoencoder"], image_shape)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights do not fit images of shape {image_shape} ({error})") from error
    return model.eval().requires_grad_(False)


@torch.no_grad()
def reconstruction_psnr(model: Autoencoder, images: UInt8Array, batch_size: int = 256) -> float:
    """Peak signal-to-noise ratio, in dB, of the 8-bit reconstructions of uint8 images (N, H, W, C).

    Infinite for a perfect reconstruction is reported as 100.
    """
    squared = 0.0
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        decoded = to_uint8(model.decode(model.encode(to_float(batch))))
        squared += float(np.square(decoded.astype(np.float64) - batch).sum())
    mse = squared / images.size
    return min(100.0, 10.0 * math.log10(255.0**2 / mse)) if mse else 100.0
