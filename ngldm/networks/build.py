"""Networks made from a kind and its options; the kinds that ngldm has."""

import inspect
from collections.abc import Mapping

from torch import nn

from ngldm.io.errors import InputError
from ngldm.networks.diffusers_unet2d import KIND, DiffusersUNet2D, unet2d_config
from ngldm.networks.dit import DiT, DiTSettings
from ngldm.networks.head import HeadBeside
from ngldm.networks.mlp import MLP, MLPSettings
from ngldm.networks.registry import NETWORKS as NETWORKS  # with the kinds below
from ngldm.networks.registry import NetworkInput, register
from ngldm.networks.unet import UNet, UNetSettings


@register("unet", settings=UNetSettings)
def unet(made_for: NetworkInput, settings: UNetSettings) -> UNet:
    """Residual blocks, attention and skip connections: the default for images."""
    channels = made_for.require_images("unet")[0]
    return UNet(channels, settings, made_for.num_train_timesteps, made_for.stein_head, made_for.num_classes)


@register("mlp", settings=MLPSettings)
def mlp(made_for: NetworkInput, settings: MLPSettings) -> MLP:
    """Residual layers: the default for points."""
    dim = made_for.require_points("mlp")
    return MLP(dim, settings, made_for.num_train_timesteps, made_for.stein_head, made_for.num_classes)


@register("dit", settings=DiTSettings)
def dit(made_for: NetworkInput, settings: DiTSettings) -> DiT:
    """A transformer of patches of the latents."""
    return DiT(made_for.require_images("dit"), settings, made_for.num_classes)


@register(KIND, settings=unet2d_config)
def diffusers_unet2d(made_for: NetworkInput, config: Mapping[str, object]) -> DiffusersUNet2D:
    """diffusers' `UNet2DModel`; the options are its config."""
    return DiffusersUNet2D(made_for.require_images(KIND), config, made_for.num_classes)


def build_network(kind: str, options: Mapping[str, object], made_for: NetworkInput) -> nn.Module:
    """An untrained network, float32.

    Args:
        kind: a registered name, see `ngldm.networks.registry`.
        options: its parameters.
        made_for: the shape of x_t, T, the head and the number of classes.

    Returns:
        network(x_t (B, ...), t (B,)): the shape of x_t, with a head further channels after those. With classes it
        also takes their labels (B,).

    Raises:
        InputError: an unknown kind or option, or one that the network refuses; a network for other items, or one
            that takes no classes, where there are some.
    """
    if not isinstance(kind, str):
        raise InputError(f"network.kind: {kind!r} is not a name")
    network = NETWORKS.make(kind, made_for, options)
    if made_for.num_classes and len(inspect.signature(network.forward).parameters) < 3:
        raise InputError(
            f"network.num_classes: the network {kind!r} takes no classes; its forward must be "
            "forward(x, t, labels=None)"
        )
    if made_for.stein_head != "none" and not hasattr(network, "stein_head"):
        network = HeadBeside(network, made_for)
    return network.float()
