"""What is known of the training latents, measured once and saved with the model.

`LatentStatistics` holds a mean and a deviation per channel: they standardise the latents. `LatentExtent` holds mean,
deviation, lowest and highest value at each position of the standardised latents: x_T can start from them, and a
predicted x_0 can be kept within them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.io.items import Rows

MIN_STD = 1e-6  # a channel with a smaller deviation is unused: dividing by it would only enlarge rounding errors


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation of each latent channel over the training split; (c,) float32 each.

    The columns of points are their channels.
    """

    mean: Tensor
    std: Tensor

    def standardise(self, z: Tensor) -> Tensor:
        """(B, c, h, w) or (B, c) latents to mean 0, variance 1 per channel."""
        return (z - _per_channel(self.mean, z)) / _per_channel(self.std, z)

    def unstandardise(self, z: Tensor) -> Tensor:
        """The inverse of `standardise`."""
        return z * _per_channel(self.std, z) + _per_channel(self.mean, z)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(c,) shaped to broadcast over `like` (B, c, ...)."""
    return values.to(like).reshape(-1, *[1] * (like.ndim - 2))


@dataclass(frozen=True)
class LatentExtent:
    """Mean, deviation and range of the standardised training latents at each position; float32, each of their shape."""

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def standard(cls, shape: Sequence[int]) -> "LatentExtent":
        """Of latents of that shape that are only known to be standardised: mean 0, deviation 1, no bounds."""
        zeros, infinite = torch.zeros(tuple(shape)), torch.full(tuple(shape), torch.inf)
        return cls(zeros, torch.ones(tuple(shape)), -infinite, infinite)

    @property
    def root_mean_square(self) -> float:
        """Of all the latents' numbers: about 1, since they are standardised."""
        return float((self.mean.square() + self.std.square()).mean().sqrt())


def channel_statistics(latents: NDArray[np.float32], batch_size: int) -> LatentStatistics:
    """Mean and deviation per channel of latents (N, c, h, w) or (N, c), which may be memory-mapped.

    Two passes in float64, `batch_size` latents at a time: the mean, then the variance about it. The deviation of a
    channel that never varies is given as 1.
    """
    channels, per_channel = latents.shape[1], latents.size / latents.shape[1]
    axes, along = (0, *range(2, latents.ndim)), (-1, *[1] * (latents.ndim - 2))
    chunks = [slice(start, start + batch_size) for start in range(0, len(latents), batch_size)]
    mean = sum((latents[c].sum(axes, dtype=np.float64) for c in chunks), np.zeros(channels)) / per_channel
    squares = (np.square(latents[c] - mean.reshape(along), dtype=np.float64).sum(axes) for c in chunks)
    std = np.sqrt(sum(squares, np.zeros(channels)) / per_channel)
    return LatentStatistics(torch.from_numpy(mean).float(), torch.from_numpy(np.where(std < MIN_STD, 1.0, std)).float())


class ChannelMoments:
    """Mean and variance of each channel of latents that pass once, in float64.

    Batches, and the moments of parts, are merged as Chan et al. (1983) do it: sums of squares would lose digits where
    the mean is much larger than the deviation.

    Args:
        channels: c.

    Attributes:
        count: numbers per channel so far.
        mean: (c,) float64.
        scatter: (c,) sums of the squared distances from the mean.
    """

    def __init__(self, channels: int) -> None:
        self.count, self.mean, self.scatter = 0, np.zeros(channels), np.zeros(channels)

    def update(self, latents: NDArray[np.float32]) -> None:
        """Add latents (B, c, ...)."""
        axes = (0, *range(2, latents.ndim))
        x = latents.astype(np.float64)
        mean = x.mean(axes)
        scatter = np.square(x - mean.reshape(-1, *[1] * (x.ndim - 2))).sum(axes)
        self.merge(x.size // x.shape[1], mean, scatter)

    def merge(self, count: int, mean: NDArray[np.float64], scatter: NDArray[np.float64]) -> None:
        """Add the numbers of another part, of which these are the moments."""
        total, delta = self.count + count, mean - self.mean
        if count:
            self.scatter = self.scatter + scatter + np.square(delta) * (self.count * count / total)
            self.mean = self.mean + delta * (count / total)
            self.count = total

    def statistics(self) -> LatentStatistics:
        """Mean and deviation as `channel_statistics` gives them."""
        std = np.sqrt(self.scatter / self.count)
        return LatentStatistics(*(torch.from_numpy(x).float() for x in (self.mean, np.where(std < MIN_STD, 1.0, std))))


def latent_extent(latents: Rows, batch_size: int = 4096) -> LatentExtent:
    """Mean, deviation and range at each position of standardised latents (N, ...), in one pass over the array."""
    total = np.zeros(latents.shape[1:])
    squares = np.zeros(latents.shape[1:])
    low, high = np.full(latents.shape[1:], np.inf), np.full(latents.shape[1:], -np.inf)
    for start in range(0, len(latents), batch_size):
        part = latents[start : start + batch_size].astype(np.float64)
        total += part.sum(0)
        squares += np.square(part).sum(0)
        low, high = np.minimum(low, part.min(0)), np.maximum(high, part.max(0))
    mean = total / len(latents)
    std = np.sqrt(np.maximum(squares / len(latents) - mean**2, 0.0))
    return LatentExtent(*(torch.from_numpy(array).float() for array in (mean, std, low, high)))
