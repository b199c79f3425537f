"""diffusers' `UNet2DModel` as a network: any architecture that its config describes."""

import inspect
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import InputError
from ngldm.io.registry import import_extra

KIND = "diffusers_unet2d"
FOLLOW = ("sample_size", "in_channels", "out_channels")  # from the latents
CLASSES = ("class_embed_type", "num_class_embeds")


def unet2d_config(**config: object) -> Mapping[str, object]:
    """A config of `UNet2DModel`, checked by its names: its arguments, but for those that follow from the latents.

    Raises:
        InputError: diffusers is not installed, or a key is not allowed.
    """
    model = import_extra("diffusers", f"network.kind {KIND!r}").UNet2DModel
    known = [key for key in inspect.signature(model.__init__).parameters if key != "self"]
    for key in config:
        if key in FOLLOW:
            raise InputError(f"network.options.{key}: follows from the latents; leave it out")
        if key in CLASSES:
            raise InputError(f"network.options.{key}: follows from network.num_classes; leave it out")
        if key not in known:
            allowed = [name for name in known if name not in (*FOLLOW, *CLASSES)]
            raise InputError(f"network {KIND!r} has no parameter {key!r}; it has: {', '.join(allowed)}")
    return config


class DiffusersUNet2D(nn.Module):
    """f_theta(x_t, t) by a `UNet2DModel`, in the shape of x_t.

    diffusers counts timesteps from 0 to T - 1, so the model gets t - 1. A side that its halvings do not divide is
    padded with zeros, and the output is cut to the size of x_t.

    Args:
        shape: (C, H, W) of x_t.
        config: the model's config, from `unet2d_config`.
        num_classes: K; 0 makes a network without classes.

    Raises:
        InputError: diffusers is not installed, or it does not accept the config.
    """

    def __init__(self, shape: tuple[int, int, int], config: Mapping[str, object], num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes
        channels, height, width = shape
        diffusers = import_extra("diffusers", f"network.kind {KIND!r}")
        self.multiple = 2 ** (len(self._levels(diffusers.UNet2DModel, config)) - 1)
        size = tuple(math.ceil(side / self.multiple) * self.multiple for side in (height, width))
        follow = dict(zip(FOLLOW, (size, channels, channels), strict=True))
        classes = {"num_class_embeds": num_classes + 1} if num_classes else {}  # the last is no class
        try:
            model = diffusers.UNet2DModel(**follow, **classes, **config)
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise InputError(f"network {KIND!r} does not accept {dict(config)}: {error}") from error
        self.unet: nn.Module = model

    @staticmethod
    def _levels(model: type, config: Mapping[str, object]) -> tuple[object, ...]:
        default = inspect.signature(model).parameters["block_out_channels"].default
        levels = config.get("block_out_channels", default)
        if not isinstance(levels, list | tuple) or not levels:
            raise InputError(f"network.options.block_out_channels: {levels!r} must be a list of channels per level")
        return tuple(levels)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W), t (B,) in 1..T and labels (B,), None for no class, to (B, C, H, W)."""
        height, width = x.shape[2:]
        if labels is None and self.num_classes:
            labels = torch.full_like(t, self.num_classes)
        padded = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        out: Tensor = self.unet(padded, t - 1, labels, return_dict=False)[0]
        return out[..., :height, :width]
