"""A convolutional autoencoder with a small KL term, as in latent diffusion (Rombach et al. 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import InputError, require_whole
from ngldm.io.limits import MAX_LEVELS, MAX_WIDTH
from ngldm.networks.autoencoders.autoencoder import Autoencoder


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
    """A variational autoencoder that halves height and width at each level.

    `encode` gives the mean of q(z|x). The loss is the mean squared error plus `kl_weight` times the KL divergence of
    q(z|x) from N(0, 1), divided by the number of values of the image. The image's sides must be multiples of 2**levels.
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
        require_whole("autoencoder.levels", levels, 1, MAX_LEVELS)
        for key, value in (("latent_channels", latent_channels), ("width", width)):
            require_whole(f"autoencoder.{key}", value, 1, MAX_WIDTH)
        if height % 2**levels or side % 2**levels:
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

    def loss(self, x: Tensor, generator: torch.Generator | None = None, part: slice | None = None) -> Tensor:
        count, part = len(x), part or slice(None)
        x = x[part]
        mean, logvar = self.posterior(x)
        place = generator.device if generator else mean.device  # of a GPU without float64 the generator is on the CPU
        eps = torch.randn((count, *mean.shape[1:]), generator=generator, device=place, dtype=mean.dtype)[part]
        reconstruction = F.mse_loss(self.decode(mean + (0.5 * logvar).exp() * eps.to(mean.device)), x)
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum() / x.numel()
        return reconstruction + self.kl_weight * kl
