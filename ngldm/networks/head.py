"""A head for the Stein kernel beside a network that has none of its own."""

import torch
from torch import Tensor, nn

from ngldm.networks.mlp import FourierTime, PointHead
from ngldm.networks.registry import NetworkInput
from ngldm.networks.unet import SteinHead

FREQUENCIES = 32  # of t; the head's hidden layer is twice as wide


class HeadBeside(nn.Module):
    """A network and a head: (B, C, ...) and, after those, the channels of the head.

    The head sees x_t, t and the network's output, without a gradient. So the network learns the same with it and
    without. Unlike the heads of `UNet` and `MLP`, it does not see the last features.

    Args:
        network: network(x, t), of the shape of x.
        made_for: with the head's kind, "scalar" (one channel more) or "element" (C channels more).
    """

    def __init__(self, network: nn.Module, made_for: NetworkInput) -> None:
        super().__init__()
        self.network = network
        self.time = FourierTime(made_for.num_train_timesteps, FREQUENCIES)
        head = SteinHead if len(made_for.shape) == 3 else PointHead
        self.stein_head = head(2 * FREQUENCIES, made_for.channels, made_for.stein_head)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, C, ...) and t (B,), with classes labels (B,) too, to (B, C + 1, ...) or (B, 2 C, ...)."""
        out: Tensor = self.network(x, t) if labels is None else self.network(x, t, labels)
        features = self.time(t).to(x.dtype)
        features = features.reshape(*features.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
        return torch.cat([out, self.stein_head(features, x, out)], dim=1)
