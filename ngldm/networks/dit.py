"""The diffusion transformer for latents: patches as tokens, t by adaLN-zero (Peebles and Xie 2023, DiT).

Queries and keys are normalised (Dehghani et al. 2023), which keeps the logits of the attention small and the training
stable at high learning rates. Positions are fixed sines and cosines of row and column.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import InputError, require_real, require_whole
from ngldm.io.limits import MAX_DEPTH, MAX_WIDTH
from ngldm.networks.classes import add_class, class_embedding
from ngldm.networks.unet import SinusoidalEmbedding


@dataclass(frozen=True)
class DiTSettings:
    """The size of a diffusion transformer.

    Attributes:
        patch_size: side of a patch, in positions of the latent. Half of it means four times as many tokens.
        width: of the tokens, a multiple of 4 and of head_dim.
        depth: number of blocks, at least 1.
        head_dim: channels per attention head.
        mlp_ratio: width of the hidden layer of each block's MLP, in widths of the tokens.
        dropout: probability in [0, 1) after attention and MLP.

    Raises:
        InputError: a number is out of range, or the width does not divide.
    """

    patch_size: int = 2
    width: int = 128
    depth: int = 6
    head_dim: int = 32
    mlp_ratio: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for key in ("patch_size", "width", "depth", "head_dim", "mlp_ratio"):
            require_whole(f"dit.{key}", getattr(self, key), 1, MAX_DEPTH if key == "depth" else MAX_WIDTH)
        if self.width % self.head_dim or self.width % 4:
            raise InputError(f"dit.width: {self.width} must be a multiple of head_dim = {self.head_dim}, and of 4")
        if not 0.0 <= require_real("dit.dropout", self.dropout) < 1.0:
            raise InputError(f"dit.dropout: {self.dropout} must be at least 0 and below 1")


def positions(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of row and column (DiT's `pos_embed`): (rows * columns, width), rows in the first half."""
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(width // 4, dtype=torch.float32) / (width // 4))

    def waves(count: int) -> Tensor:
        angles = torch.arange(count, dtype=torch.float32)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    row, column = waves(rows).repeat_interleave(columns, dim=0), waves(columns).repeat(rows, 1)
    return torch.cat([row, column], dim=1)


class Attention(nn.Module):
    """Multi-head self-attention with normalised queries and keys: (B, N, width) to the same."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.qkv = nn.Linear(width, 3 * width)
        self.norm_q, self.norm_k = nn.RMSNorm(head_dim), nn.RMSNorm(head_dim)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(self.norm_q(q.float()).to(v.dtype), self.norm_k(k.float()).to(v.dtype), v)
        out: Tensor = self.out(y.transpose(1, 2).reshape(b, n, width))
        return out


class AdaLN(nn.Module):
    """Shifts, scales and gates from the embedding of t; all zero at the start (adaLN-zero)."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.linear = nn.Linear(width, count * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, emb: Tensor) -> tuple[Tensor, ...]:
        """(B, width) to `count` tensors (B, 1, width)."""
        parts: tuple[Tensor, ...] = self.linear(emb)[:, None].chunk(self.count, dim=2)
        return parts


class Block(nn.Module):
    """Attention and an MLP, each with its norm, shift and scale before it and a gate after it."""

    def __init__(self, settings: DiTSettings) -> None:
        super().__init__()
        width, hidden = settings.width, settings.mlp_ratio * settings.width
        self.modulation = AdaLN(width, 6)
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.attention = Attention(width, settings.head_dim)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(emb)
        x = x + gate1 * self.dropout(self.attention(self.norm1(x) * (1.0 + scale1) + shift1))
        out: Tensor = x + gate2 * self.dropout(self.mlp(self.norm2(x) * (1.0 + scale2) + shift2))
        return out


class DiT(nn.Module):
    """f_theta(x_t, t) for latents, in the shape of x_t. It starts at zero.

    A side that is no multiple of the patch is padded with zeros, and the output is cut to the size of x_t.

    Args:
        shape: (C, H, W) of x_t.
        num_classes: K; 0 makes a network without classes.
    """

    positions: Tensor

    def __init__(self, shape: tuple[int, int, int], settings: DiTSettings | None = None, num_classes: int = 0) -> None:
        super().__init__()
        settings = settings or DiTSettings()
        (channels, height, side), width, self.patch = shape, settings.width, settings.patch_size
        self.grid = (math.ceil(height / self.patch), math.ceil(side / self.patch))
        self.patches_in = nn.Conv2d(channels, width, self.patch, stride=self.patch)
        self.time_embedding = SinusoidalEmbedding(width, width)
        self.register_buffer("positions", positions(*self.grid, width), persistent=False)
        self.blocks = nn.ModuleList([Block(settings) for _ in range(settings.depth)])
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = AdaLN(width, 2)
        self.patches_out = nn.Linear(width, self.patch**2 * channels)
        nn.init.zeros_(self.patches_out.weight)
        nn.init.zeros_(self.patches_out.bias)
        self.classes = class_embedding(num_classes, width)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output for noised latents.

        Args:
            x: (B, C, H, W).
            t: (B,) timesteps in 1..T.
            labels: (B,) classes from 0; None is no class.

        Returns:
            (B, C, H, W).
        """
        (b, channels, height, side), (rows, columns), p = x.shape, self.grid, self.patch
        emb = F.silu(add_class(self.time_embedding(t), self.classes, labels))
        h = self.patches_in(F.pad(x, (0, columns * p - side, 0, rows * p - height)))
        h = h.flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            h = block(h, emb)
        shift, scale = self.modulation(emb)
        tokens = self.patches_out(self.norm_out(h) * (1.0 + scale) + shift)
        # (B, rows * columns, p * p * C) -> (B, C, rows, p, columns, p) -> (B, C, rows * p, columns * p)
        pixels = tokens.reshape(b, rows, columns, p, p, channels).permute(0, 5, 1, 3, 2, 4)
        out: Tensor = pixels.reshape(b, channels, rows * p, columns * p)[..., :height, :side]
        return out
