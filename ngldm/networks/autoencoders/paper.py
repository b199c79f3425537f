"""The paper's autoencoder: 32x32x3 images to latents of 24x24x3."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import InputError, require_whole
from ngldm.io.limits import MAX_DEPTH, MAX_WIDTH
from ngldm.networks.autoencoders.autoencoder import Autoencoder


class PaperAutoencoder(Autoencoder):
    """The paper's shapes: images (C, S, S) to latents (c, s, s) with s a little below S (32 to 24 for CIFAR-10).

    The paper gives the shapes only; the layers are ours. Encoder and decoder are each the sum of a bicubic resize and
    of convolutions. An unpadded 3x3 convolution makes each side two pixels smaller, so (S - s) / 2 of them lead from S
    to s, and as many transposed ones lead back. The last convolution starts near zero. So training starts from the
    resize, which alone reaches 32 dB on CIFAR-10.
    """

    shrink: Tensor
    grow: Tensor

    def __init__(self, image_shape: tuple[int, int, int], latent_channels: int, latent_size: int, width: int) -> None:
        super().__init__()
        channels, height, side = image_shape
        for key, value in (("latent_channels", latent_channels), ("width", width)):
            require_whole(f"autoencoder.{key}", value, 1, MAX_WIDTH)
        steps, odd = divmod(side - latent_size, 2)
        if odd or not 1 <= steps <= MAX_DEPTH or latent_size < 1 or height != side:
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
    """Make a branch's last convolution small: the branch then adds little, but its gradient is not zero."""
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.zero_()  # type: ignore[union-attr]
    return last


def _resize_matrix(size: int, new: int) -> Tensor:
    """The bicubic resize of one dimension as a matrix (new, size).

    On GPUs the gradient of torch's own resize is not deterministic; that of a matrix product is.
    """
    return F.interpolate(torch.eye(size)[None, None], (new, size), mode="bicubic", align_corners=False)[0, 0]


def _with_channels(x: Tensor, channels: int) -> Tensor:
    """(B, C, H, W) with as many channels as asked for: the last are cut off, or channels of zeros are added."""
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))
