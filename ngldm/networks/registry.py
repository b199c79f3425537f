"""The registry of networks: a kind and its options in, a network that predicts from x_t and t out.

A network of your own is a function with the decorator `register`. Its first argument says what the network is for; the
others are its options. It returns an `nn.Module` whose `forward(x, t)` gives a tensor of the shape of x. To be trained
with classes it is `forward(x, t, labels=None)`: `labels` (B,) are classes from 0, K and None mean no class.
"""

from dataclasses import dataclass

from torch import nn

from ngldm.io.errors import InputError
from ngldm.io.registry import Registry

NETWORKS: Registry[nn.Module] = Registry("network", "ngldm.networks", nn.Module)
register = NETWORKS.register


@dataclass(frozen=True)
class NetworkInput:
    """What a network is made for.

    Attributes:
        shape: of x_t without the batch: (C, H, W) of latents, (d,) of points.
        num_train_timesteps: T, the largest t.
        stein_head: "none", "scalar" or "element", the head for the Stein kernel. A network need not know it: without an
            attribute `stein_head` it gets a head beside it (`ngldm.networks.head`).
        num_classes: K, the number of classes; 0 if the network gets none.
    """

    shape: tuple[int, ...]
    num_train_timesteps: int = 1000
    stein_head: str = "none"
    num_classes: int = 0

    @property
    def channels(self) -> int:
        """C of latents, d of points."""
        return self.shape[0]

    def require_images(self, kind: str) -> tuple[int, int, int]:
        """(C, H, W).

        Args:
            kind: of the network, for the message.

        Raises:
            InputError: x_t are points.
        """
        if len(self.shape) != 3:
            raise InputError(f"network.kind: {kind!r} is for images; points have 'mlp' or a network of your own")
        channels, height, width = self.shape
        return channels, height, width

    def require_points(self, kind: str) -> int:
        """d.

        Args:
            kind: of the network, for the message.

        Raises:
            InputError: x_t are images.
        """
        if len(self.shape) != 1:
            raise InputError(f"network.kind: {kind!r} is for points; images have 'unet', 'dit' and others")
        return self.shape[0]
