"""The network for points: a residual MLP with an embedding of t. What its output means is the objective's business."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import require_whole
from ngldm.io.limits import MAX_DEPTH, MAX_WIDTH
from ngldm.networks.classes import add_class, class_embedding

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
        require_whole("mlp.width", self.width, 1, MAX_WIDTH)
        require_whole("mlp.depth", self.depth, 1, MAX_DEPTH)


class FourierTime(nn.Module):
    """Sines and cosines of k pi / 2 * t / T, k = 1 to `count`: t (B,) to (B, 2 count)."""

    frequencies: Tensor

    def __init__(self, num_train_timesteps: int, count: int = FREQUENCIES) -> None:
        super().__init__()
        angles = torch.arange(1, count + 1, dtype=torch.float32) * (math.pi / 2.0)
        self.register_buffer("frequencies", angles / num_train_timesteps, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angles = t.float()[:, None] * self.frequencies.float()
        return torch.cat([angles.sin(), angles.cos()], dim=1).to(self.frequencies.dtype)


class PointHead(nn.Module):
    """Further output for the Stein kernel, from the last features of the MLP, its input and its output.

    As `ngldm.networks.unet.SteinHead`, it takes all of them without a gradient. So the MLP learns the same with a head
    and without.

    Args:
        width: number of features.
        dim: number of columns of x_t.
        kind: "scalar": one number for each point. "element": the shape of x_t.
    """

    def __init__(self, width: int, dim: int, kind: str) -> None:
        super().__init__()
        self.scalar = kind == "scalar"
        self.hidden = nn.Linear(width + (1 if self.scalar else 2 * dim), width)
        self.out = nn.Linear(width, 1 if self.scalar else dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor, x: Tensor, output: Tensor) -> Tensor:
        beside = [x, output.detach()]
        if self.scalar:
            beside = [x.float().square().mean(1, keepdim=True).clamp(min=1e-6).log().to(features.dtype)]
        out: Tensor = self.out(F.silu(self.hidden(torch.cat([features.detach(), *beside], dim=1))))
        return out


class MLP(nn.Module):
    """f_theta(x_t, t) for points, in the shape of x_t; with a head, further columns after those.

    h = W_in x + W_t features(t), then h = h + W SiLU(h) for each residual layer, then W_out SiLU(h). The last layer
    starts at zero. The features are Fourier features of t / T (Tancik et al. 2020).

    Args:
        dim: number of columns d of x_t.
        num_train_timesteps: T, the largest t.
        stein_head: "none", "scalar" (one column more) or "element" (d columns more); see `PointHead`.
        num_classes: K; 0 makes a network without classes.
    """

    def __init__(
        self,
        dim: int,
        settings: MLPSettings | None = None,
        num_train_timesteps: int = 1000,
        stein_head: str = "none",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        settings = settings or MLPSettings()
        width = settings.width
        self.waves = FourierTime(num_train_timesteps)
        self.linear_in = nn.Linear(dim, width)
        self.time = nn.Linear(2 * FREQUENCIES, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(settings.depth)])
        self.linear_out = nn.Linear(width, dim)
        nn.init.zeros_(self.linear_out.weight)
        nn.init.zeros_(self.linear_out.bias)
        self.stein_head = PointHead(width, dim, stein_head) if stein_head != "none" else None
        self.classes = class_embedding(num_classes, width)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output for noised points.

        Args:
            x: (B, d).
            t: (B,) timesteps in 1..T.
            labels: (B,) classes from 0; None is no class.

        Returns:
            (B, d), dtype of x; with a head (B, d + 1) or (B, 2 d).
        """
        h = self.linear_in(x) + add_class(self.time(self.waves(t)), self.classes, labels)
        for layer in self.hidden:
            h = h + layer(F.silu(h))
        features = F.silu(h)
        out: Tensor = self.linear_out(features)
        return out if self.stein_head is None else torch.cat([out, self.stein_head(features, x, out)], dim=1)
