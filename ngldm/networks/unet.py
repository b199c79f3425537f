"""The U-Net: residual blocks of two convolutions, self-attention, an embedding of t.

What its output means (eps, x_0 or v) is the objective's business; its shape is that of the input. A head for the Stein
kernel adds channels (`ngldm.diffusion.stein_head`).

It follows DDPM (Ho et al. 2020, appendix B): GroupNorm and SiLU before each convolution, the time embedding added
between the two, self-attention at chosen levels, the last convolution of each branch initialised to zero. It takes any
height and width: a level halves its input rounding up (7 -> 4 -> 2 -> 1), and on the way up each level is resized to
the size of its skip connection.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import InputError, require_whole, unknown
from ngldm.io.limits import MAX_BLOCKS, MAX_LEVELS, MAX_WIDTH
from ngldm.networks.classes import add_class, class_embedding
from ngldm.networks.names import TIME_EMBEDDINGS


class SinusoidalEmbedding(nn.Module):
    """Sines and cosines of t at geometrically spaced frequencies (Vaswani et al. 2017), then an MLP."""

    frequencies: Tensor

    def __init__(self, base: int, dim: int) -> None:
        super().__init__()
        half, home = base // 2, torch.get_default_device()
        with torch.device("cpu"):  # on the device "meta" a product would import torch's compiler, which takes a second
            frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("frequencies", frequencies.to(home), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        angles = t.float()[:, None] * self.frequencies[None].float()
        out: Tensor = self.mlp(torch.cat([angles.sin(), angles.cos()], dim=1).to(self.frequencies.dtype))
        return out


class SirenEmbedding(nn.Module):
    """An MLP of t/T with sine activations (SIREN, Sitzmann et al. 2020), as the paper's time embedding.

    The first layer's weights are uniform in (-1, 1) and its output is multiplied by `omega_0` = 30; the second layer's
    weights are uniform in +-sqrt(6 / dim). With these, the activations have the same distribution in both layers.
    """

    omega_0 = 30.0

    def __init__(self, dim: int, num_train_timesteps: int) -> None:
        super().__init__()
        self.num_train_timesteps = num_train_timesteps
        self.first = nn.Linear(1, dim)
        self.second = nn.Linear(dim, dim)
        nn.init.uniform_(self.first.weight, -1.0, 1.0)
        nn.init.uniform_(self.first.bias, -math.pi / self.omega_0, math.pi / self.omega_0)
        nn.init.uniform_(self.second.weight, -math.sqrt(6.0 / dim), math.sqrt(6.0 / dim))

    def forward(self, t: Tensor) -> Tensor:
        x = (2.0 * t.float() / self.num_train_timesteps - 1.0)[:, None].to(self.first.weight.dtype)
        return torch.sin(self.second(torch.sin(self.omega_0 * self.first(x))))


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with the most groups, up to 32, that divide the channels into equal groups of at least 4."""
    groups = next(g for g in range(min(32, max(1, channels // 4)), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def zero_init(module: nn.Conv2d) -> nn.Conv2d:
    """Zero a convolution, so that its branch starts as the identity (or the network as the zero function)."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


class ResBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice; t enters in between; residual connection."""

    def __init__(self, in_channels: int, out_channels: int, time_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_dim, out_channels)
        self.norm2 = group_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(emb)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        out: Tensor = self.skip(x) + h
        return out


class Attention(nn.Module):
    """Multi-head self-attention over the H*W positions, with a residual connection."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        if head_dim < 1 or channels % head_dim:
            raise InputError(f"unet.attention_head_dim: {head_dim} does not divide the width {channels}")
        self.heads = channels // head_dim
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        # (B, 3C, H, W) -> (B, HW, 3C), a view if x is channels_last -> three tensors (B, heads, HW, head_dim)
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).reshape(b, h * w, 3, self.heads, c // self.heads)
        y = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4).unbind(0))
        out: Tensor = x + self.out(y.transpose(1, 2).reshape(b, h * w, c).transpose(1, 2).reshape(b, c, h, w))
        return out


class Stage(nn.Module):
    """A residual block and, where the level has it, self-attention."""

    def __init__(
        self, in_channels: int, out_channels: int, time_dim: int, dropout: float, head_dim: int | None
    ) -> None:
        super().__init__()
        self.block = ResBlock(in_channels, out_channels, time_dim, dropout)
        self.attention = Attention(out_channels, head_dim) if head_dim is not None else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        out: Tensor = self.attention(self.block(x, emb))
        return out


class Upsample(nn.Module):
    """Nearest-neighbour resize to a given size, then a convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, size=size, mode="nearest"))
        return out


@dataclass(frozen=True)
class UNetSettings:
    """The size and the parts of a U-Net.

    Attributes:
        widths: channels of each level, finest first, at least 2; each level halves height and width, rounding up.
        blocks_per_level: residual blocks per level on the way down (one more on the way up).
        attention_levels: indices into `widths` of the levels with self-attention after each block; the bottleneck has
            it if the last level is listed.
        attention_head_dim: channels per attention head; must divide the width of every level with attention.
        time_embedding: "sinusoidal" (DDPM) or "siren" (the paper).
        dropout: probability in [0, 1) between the two convolutions of a block.

    Raises:
        InputError: on a width or a level that does not fit.
    """

    widths: Sequence[int] = (64, 128)
    blocks_per_level: int = 2
    attention_levels: Sequence[int] = (1,)
    attention_head_dim: int = 32
    time_embedding: str = "sinusoidal"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_whole("unet.widths: number of levels", len(self.widths), 1, MAX_LEVELS)
        for width in (*self.widths, self.attention_head_dim):
            require_whole("unet.widths, unet.attention_head_dim", width, 1, MAX_WIDTH)
        require_whole("unet.blocks_per_level", self.blocks_per_level, 1, MAX_BLOCKS)
        bad = [level for level in self.attention_levels if not 0 <= level < len(self.widths)]
        if bad:
            raise InputError(f"unet.attention_levels: {bad} lie outside the {len(self.widths)} levels of unet.widths")
        if self.widths[0] < 2:
            raise InputError(
                f"unet.widths: {list(self.widths)} must start with at least 2; t enters by a sine and a cosine"
            )

    @property
    def time_dim(self) -> int:
        """Length of the embedding of t."""
        return 4 * self.widths[0]

    def make_time_embedding(self, num_train_timesteps: int) -> nn.Module:
        """The module that turns t (B,) into an embedding (B, time_dim).

        Raises:
            InputError: there is none of that name.
        """
        if self.time_embedding == "sinusoidal":
            return SinusoidalEmbedding(self.widths[0], self.time_dim)
        if self.time_embedding == "siren":
            return SirenEmbedding(self.time_dim, num_train_timesteps)
        raise unknown("unet.time_embedding", self.time_embedding, TIME_EMBEDDINGS)

    def make_stage(self, in_channels: int, out_channels: int, level: int) -> Stage:
        """A block of that level, with attention where the level has it."""
        head_dim = self.attention_head_dim if level in self.attention_levels else None
        return Stage(in_channels, out_channels, self.time_dim, self.dropout, head_dim)


class SteinHead(nn.Module):
    """Further output for the Stein kernel, from the last features of the U-Net, its input and its output.

    It takes all of them without a gradient. So the U-Net learns the same with a head and without, and the backward pass
    of the head ends here.

    Args:
        channels: of the features.
        image_channels: of x_t.
        kind: "scalar": one number for each image, written in all positions of one channel. "element": the shape of x_t.
    """

    def __init__(self, channels: int, image_channels: int, kind: str) -> None:
        super().__init__()
        size, inputs = (1, channels + 1) if kind == "scalar" else (3, channels + 2 * image_channels)
        outputs = 1 if kind == "scalar" else image_channels
        self.pooled = kind == "scalar"
        self.hidden = nn.Conv2d(inputs, channels, size, padding=size // 2)
        self.out = zero_init(nn.Conv2d(channels, outputs, size, padding=size // 2))

    def forward(self, features: Tensor, x: Tensor, output: Tensor) -> Tensor:
        if self.pooled:
            spread = x.float().square().mean((1, 2, 3), keepdim=True).clamp(min=1e-6).log().to(features.dtype)
            inputs = torch.cat([features.detach().mean((2, 3), keepdim=True), spread], dim=1)
        else:
            inputs = torch.cat([features.detach(), x, output.detach()], dim=1)
        raw: Tensor = self.out(F.silu(self.hidden(inputs)))
        return raw.expand(-1, -1, *x.shape[2:])


class UNet(nn.Module):
    """f_theta(x_t, t), in the shape of x_t; with a head, further channels after those.

    Args:
        in_channels: channels C of x_t and of the output.
        num_train_timesteps: T, the largest t; scales the siren's input.
        stein_head: "none", "scalar" (one channel more) or "element" (C channels more); see `SteinHead`.
        num_classes: K; 0 makes a network without classes.

    Raises:
        InputError: on a name or a head size that does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        settings: UNetSettings | None = None,
        num_train_timesteps: int = 1000,
        stein_head: str = "none",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        settings = settings or UNetSettings()
        levels, blocks = list(enumerate(settings.widths)), settings.blocks_per_level
        self.time_embedding = settings.make_time_embedding(num_train_timesteps)
        channels = settings.widths[0]
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        # One list in the order of the data for each way; `forward` tells the kinds of layers apart.
        self.down = nn.ModuleList()
        skips = [channels]
        for level, width in levels:
            if level > 0:
                self.down.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
            for _ in range(blocks):
                self.down.append(settings.make_stage(channels, width, level))
                channels = width
                skips.append(channels)

        last = settings.make_stage(channels, channels, len(levels) - 1)
        self.middle = nn.ModuleList([last, ResBlock(channels, channels, settings.time_dim, settings.dropout)])

        self.up = nn.ModuleList()
        for level, width in reversed(levels):
            for _ in range(blocks + 1):
                self.up.append(settings.make_stage(channels + skips.pop(), width, level))
                channels = width
            if level > 0:
                self.up.append(Upsample(channels, channels))

        self.norm_out = group_norm(channels)
        self.conv_out = zero_init(nn.Conv2d(channels, in_channels, 3, padding=1))
        self.stein_head = SteinHead(channels, in_channels, stein_head) if stein_head != "none" else None
        self.classes = class_embedding(num_classes, settings.time_dim)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output for noised images.

        Args:
            x: (B, C, H, W), any H, W >= 1.
            t: (B,) timesteps in 1..T.
            labels: (B,) classes from 0; None is no class.

        Returns:
            (B, C, H, W), dtype of x; with a head (B, C + 1, H, W) or (B, 2 C, H, W).
        """
        emb = F.silu(add_class(self.time_embedding(t), self.classes, labels))
        h = self.conv_in(x)
        skips = [h]
        for layer in self.down:
            h = layer(h, emb) if isinstance(layer, Stage) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, emb)
        for layer in self.up:
            if isinstance(layer, Upsample):
                h = layer(h, skips[-1].shape[-2:])
            else:
                h = layer(torch.cat([h, skips.pop()], dim=1), emb)
        features = F.silu(self.norm_out(h))
        out: Tensor = self.conv_out(features)
        return out if self.stein_head is None else torch.cat([out, self.stein_head(features, x, out)], dim=1)
