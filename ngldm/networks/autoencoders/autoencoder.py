"""What every autoencoder is, and the one that changes nothing."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
