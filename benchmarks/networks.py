"""The networks of peers, and U-Nets of ours with as many parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import parameters
from ngldm.io.errors import InputError
from ngldm.model import Model, item_settings
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.pipeline.config.noises import latent_shape
from ngldm.pipeline.config.params import Params

TOLERANCE = 0.02


def ours_like(
    target: int, channels: int, levels: int = 2, first_width: int | None = None, blocks_per_level: int | None = None
) -> dict[str, Any]:
    """Arguments of our U-Net so that it has `target` parameters, to within 2 %. It has attention at its last level.

    Each level is twice as wide as the one before, except the last, whose width is chosen to fit.

    Args:
        first_width: width of the first level; None chooses the one that fits best. If it is smaller, the last level has
            more parameters, which are used at fewer positions.
        blocks_per_level: 1 or 2; None chooses the one that fits best.

    Raises:
        ValueError: no choice fits.
    """

    def settings(first: int, last: int, blocks: int) -> dict[str, Any]:
        return {
            "widths": [*(first * 2**level for level in range(levels - 1)), last],
            "blocks_per_level": blocks,
            "attention_levels": [levels - 1],
            "attention_head_dim": last // 4,
        }

    def size(first: int, last: int, blocks: int) -> int:
        with torch.device("meta"):
            return parameters(UNet(channels, UNetSettings(**settings(first, last, blocks))))

    def nearest(options: range, key: Callable[[int], int]) -> list[int]:
        """The options, sorted by how near their size is. The size is a quadratic function of a width: three fix it."""
        known = (options[0], options[len(options) // 2], options[-1])
        curve = np.polynomial.Polynomial.fit(known, [key(width) for width in known], 2)
        return sorted(options, key=lambda width: abs(curve(width) - target))

    best: tuple[int, tuple[int, int, int]] | None = None
    for blocks in (blocks_per_level,) if blocks_per_level else (1, 2):
        if first_width:
            firsts = [first_width]
        else:
            firsts = nearest(range(8, 257, 2), lambda first, n=blocks: size(first, first * 2 ** (levels - 1), n))[:3]
        for first in firsts:
            widths = range(-(-first // 4) * 4, 16 * first + 1, 4)
            last = nearest(widths, lambda last, f=first, n=blocks: size(f, last, n))[0]
            off = abs(size(first, last, blocks) - target)
            if best is None or off < best[0]:
                best = (off, (first, last, blocks))
    if best is None or best[0] > TOLERANCE * target:
        raise ValueError(f"no U-Net of ours has {target} parameters within {TOLERANCE:.0%}")
    return settings(*best[1])


def model_of(
    unet: dict[str, Any], shape: tuple[int, int, int], noise: str = "gaussian", timesteps: int = 1000
) -> Model:
    """A model of pixels with an untrained U-Net."""
    return Model.build(
        {
            "noise": {"name": noise, "params": {}},
            "schedule": {"name": "linear", "num_train_timesteps": timesteps, "beta_start": 1e-4, "beta_end": 0.02},
            "diffusion": {"forward": "marginal", "objective": "eps", "weighting": "none", "gamma": None},
            "unet": unet,
            "autoencoder": {"kind": "identity"},
            "image_shape": shape,
        }
    )


def recipe_model(params: Params, noise: Mapping[str, Any], **diffusion: Any) -> Model:
    """A model with the untrained network of a recipe, whose items are latents of the recipe's shape.

    Args:
        noise: `name` and `params` of the noise.
        diffusion: settings in the place of the recipe's.

    Raises:
        InputError: the shape of the latents is in a file.
    """
    shape = latent_shape(params)
    if shape is None:
        raise InputError(f"autoencoder.kind: with {params.autoencoder.kind} the shape of the latents is not known yet")
    return Model.build(
        {
            "noise": dict(noise),
            "schedule": params.schedule.model_dump(),
            "diffusion": {**params.diffusion.model_dump(), **diffusion},
            "autoencoder": {"kind": "identity"},
            **item_settings(shape, **params.networks()),
        }
    )


def diffusers_unet(shape: tuple[int, int, int], widths: tuple[int, int]) -> nn.Module:
    from diffusers import UNet2DModel

    model: nn.Module = UNet2DModel(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=widths[1] // 4,
        norm_num_groups=16,
    )
    return model


def lucidrains_unet(shape: tuple[int, int, int], dim: int) -> nn.Module:
    from denoising_diffusion_pytorch import Unet

    model: nn.Module = Unet(
        dim=dim, dim_mults=(1, 2), channels=shape[0], full_attn=(False, True), attn_heads=4, attn_dim_head=dim // 2
    )
    return model


class DoubleConv(nn.Module):
    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(cin, cout, 3, padding=1, bias=False),
            nn.GroupNorm(1, cout),
            nn.GELU(),
            nn.Conv2d(cout, cout, 3, padding=1, bias=False),
            nn.GroupNorm(1, cout),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


class PlainUNet(nn.Module):
    """A network like the paper's: blocks of two convolutions, t is added at each level, no attention."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.first = DoubleConv(channels, width)
        self.down = nn.ModuleList([DoubleConv(width, 2 * width), DoubleConv(2 * width, 4 * width)])
        self.shift = nn.ModuleList([nn.Linear(4 * width, 2 * width), nn.Linear(4 * width, 4 * width)])
        self.up = nn.ModuleList([DoubleConv(6 * width, 2 * width), DoubleConv(3 * width, width)])
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        emb = self.time(t[:, None].float() / 1000.0)
        skips = [self.first(x)]
        for block, shift in zip(self.down, self.shift, strict=True):
            h = block(nn.functional.max_pool2d(skips[-1], 2))
            skips.append(h + shift(emb)[:, :, None, None])
        h = skips.pop()
        for block in self.up:
            skip = skips.pop()
            h = nn.functional.interpolate(h, size=skip.shape[-2:], mode="bilinear")
            h = block(torch.cat([h, skip], 1))
        result: Tensor = self.out(h)
        return result
