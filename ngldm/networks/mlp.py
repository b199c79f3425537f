"""The network for points: a residual MLP with an embedding of t. What its output means is the objective's business."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import require_whole

FREQUENCIES = 8  # sines and cosines of k pi / 2 * t / T, k = 1 to 8


@dataclass(frozen=True)
class MLPSettings:
    """The size of an MLP.

    Attributes:
        width: of the hidden layers, at least 1.
        depth: number of residual layers, at least 1.

    Raises:
        InputError: one is no whole number, or below 1.
    """

    width: int = 128
    depth: int = 3

    def __post_init__(self) -> None:
        require_whole("mlp.width", self.width, 1)
        require_whole("mlp.depth", self.depth, 1)


class MLP(nn.Module):
    """f_theta(x_t, t) for points, in the shape of x_t.

    h = W_in x + W_t features(t), then h = h + W SiLU(h) for each residual layer, then W_out SiLU(h). The last layer
    starts at zero. The features are Fourier features of t / T (Tancik et al. 2020).

    Args:
        dim: number of columns d of x_t.
        num_train_timesteps: T, the largest t.
    """

    frequencies: Tensor

    def __init__(self, dim: int, settings: MLPSettings | None = None, num_train_timesteps: int = 1000) -> None:
        super().__init__()
        settings = settings or MLPSettings()
        width, angles = settings.width, torch.arange(1, FREQUENCIES + 1, dtype=torch.float32) * (math.pi / 2.0)
        self.register_buffer("frequencies", angles / num_train_timesteps, persistent=False)
        self.linear_in = nn.Linear(dim, width)
        self.time = nn.Linear(2 * FREQUENCIES, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(settings.depth)])
        self.linear_out = nn.Linear(width, dim)
        nn.init.zeros_(self.linear_out.weight)
        nn.init.zeros_(self.linear_out.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's output for noised points.

        Args:
            x: (B, d).
            t: (B,) timesteps in 1..T.

        Returns:
            (B, d), dtype of x.
        """
        angles = t.float()[:, None] * self.frequencies.float()
        features = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.frequencies.dtype)
        h = self.linear_in(x) + self.time(features)
        for layer in self.hidden:
            h = h + layer(F.silu(h))
        out: Tensor = self.linear_out(F.silu(h))
        return out
