"""Where the training latents lie, position by position: for x_T and for predictions that no data would have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class LatentExtent:
    """What the training latents look like at each position; (c, h, w) float32 each."""

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def standard(cls, shape: Sequence[int]) -> "LatentExtent":
        """Of latents that are only known to be standardised: mean 0, deviation 1, no bounds."""
        zeros, infinite = torch.zeros(tuple(shape)), torch.full(tuple(shape), torch.inf)
        return cls(zeros, torch.ones(tuple(shape)), -infinite, infinite)


def latent_extent(latents: NDArray[np.float32], batch_size: int = 4096) -> LatentExtent:
    """Mean, deviation and range of standardised latents (N, c, h, w) at each position, in one pass over the array."""
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
