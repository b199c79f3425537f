"""diffusers' `UNet2DModel` as a network: any architecture that its config describes."""

import inspect
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import InputError, require_real, require_whole, shown
from ngldm.io.limits import MAX_BLOCKS, MAX_LEVELS, MAX_WIDTH
from ngldm.io.registry import import_extra

KIND, OPTIONS = "diffusers_unet2d", "network.options"
FOLLOW = ("sample_size", "in_channels", "out_channels")  # from the latents
CLASSES = ("class_embed_type", "num_class_embeds")


def unet2d_config(**config: object) -> Mapping[str, object]:
    """A checked config of `UNet2DModel`: its arguments, but for those that follow from the latents.

    Raises:
        InputError: diffusers is not installed, a key or a number is not allowed, or the model does not accept them.
    """
    model = import_extra("diffusers", f"network.kind {KIND!r}").UNet2DModel
    known = [key for key in inspect.signature(model.__init__).parameters if key != "self"]
    for key in config:
        if key in FOLLOW:
            raise InputError(f"{OPTIONS}.{key}: follows from the latents; leave it out")
        if key in CLASSES:
            raise InputError(f"{OPTIONS}.{key}: follows from network.num_classes; leave it out")
        if key not in known:
            allowed = [name for name in known if name not in (*FOLLOW, *CLASSES)]
            raise InputError(f"network {KIND!r} has no parameter {key!r}; it has: {', '.join(allowed)}")
    _check_numbers(model, config)
    with torch.device("meta"):  # it takes no memory and draws no random numbers
        _make(config, **dict.fromkeys(FOLLOW, 1))
    return config


def _check_numbers(model: type, config: Mapping[str, object]) -> None:
    """Check the sizes, which could ask for endless work, and what the model would take without a word.

    Raises:
        InputError: one is out of range.
    """
    for width in (levels := _levels(model, config)):
        require_whole(f"{OPTIONS}.block_out_channels", width, 1, MAX_WIDTH)
    if len(levels) > MAX_LEVELS:
        raise InputError(f"{OPTIONS}.block_out_channels: {len(levels)} levels; at most {MAX_LEVELS} are allowed")
    for key, parameter in inspect.signature(model).parameters.items():
        if key not in config or isinstance(parameter.default, bool) or not isinstance(parameter.default, int | float):
            continue
        if key == "layers_per_block":
            require_whole(f"{OPTIONS}.{key}", config[key], 1, MAX_BLOCKS)
            continue
        value = require_real(f"{OPTIONS}.{key}", config[key])
        if key == "dropout" and not 0.0 <= value < 1.0:
            raise InputError(f"{OPTIONS}.dropout: {value} must be at least 0 and below 1")
        if not abs(value) <= MAX_WIDTH:
            raise InputError(f"{OPTIONS}.{key}: {shown(value)} must lie between -{MAX_WIDTH} and {MAX_WIDTH}")


def _levels(model: type, config: Mapping[str, object]) -> tuple[object, ...]:
    default = inspect.signature(model).parameters["block_out_channels"].default
    levels = config.get("block_out_channels", default)
    if not isinstance(levels, list | tuple) or not levels:
        raise InputError(f"{OPTIONS}.block_out_channels: {levels!r} must be a list of channels per level")
    return tuple(levels)


def _make(config: Mapping[str, object], **follow: object) -> nn.Module:
    """The model.

    Raises:
        InputError: it does not accept the config.
    """
    model = import_extra("diffusers", f"network.kind {KIND!r}").UNet2DModel
    try:
        made: nn.Module = model(**follow, **config)
    except Exception as error:  # its code checks little: what is wrong shows in any way
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"network {KIND!r} does not accept {shown(dict(config))}: {reason}") from error
    return made


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
        self.multiple = 2 ** (len(_levels(diffusers.UNet2DModel, config)) - 1)
        size = tuple(math.ceil(side / self.multiple) * self.multiple for side in (height, width))
        follow: dict[str, object] = dict(zip(FOLLOW, (size, channels, channels), strict=True))
        classes = {"num_class_embeds": num_classes + 1} if num_classes else {}  # the last is no class
        self.unet = _make(config, **follow, **classes)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W), t (B,) in 1..T and labels (B,), None for no class, to (B, C, H, W)."""
        height, width = x.shape[2:]
        if labels is None and self.num_classes:
            labels = torch.full_like(t, self.num_classes)
        padded = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        out: Tensor = self.unet(padded, t - 1, labels, return_dict=False)[0]
        return out[..., :height, :width]
