"""Kernel distance (KID) of feature sets (Binkowski et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.io.errors import InputError

CHUNK = 1024  # rows of a kernel matrix in memory at a time


@dataclass(frozen=True)
class Kid:
    """Kernel Inception distance.

    Attributes:
        mean: over random subsets.
        std: over them; None where it would say nothing, since a set has fewer vectors than two subsets.
    """

    mean: float
    std: float | None


def _mmd2(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared MMD of (n, D) and (n, D) with the kernel k(x, y) = (x.y / D + 1)^3."""
    n = len(x)
    within = (_kernel_sum(x, x) - _kernel_trace(x) + _kernel_sum(y, y) - _kernel_trace(y)) / (n * (n - 1))
    return within - 2.0 * _kernel_sum(x, y) / n**2


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    """Sum of k over all pairs of x (n, D) and y (m, D). `CHUNK` rows of the matrix are in memory at a time."""
    return torch.stack([((part @ y.T / x.shape[1] + 1.0) ** 3).sum() for part in x.split(CHUNK)]).sum()


def _kernel_trace(x: Tensor) -> Tensor:
    """Sum of k(x, x) over the rows of x (n, D)."""
    return ((x.square().sum(1) / x.shape[1] + 1.0) ** 3).sum()


def kid(features1: Tensor, features2: Tensor, subset_size: int = 1000, num_subsets: int = 100, seed: int = 0) -> Kid:
    """Kernel Inception distance (Binkowski et al. 2018). It is unbiased for any number of vectors.

    Args:
        features1, features2: (N, D) and (M, D).
        subset_size: vectors per subset; at most min(N, M) are used.
        num_subsets: number of subsets. Within a subset, vectors are drawn without replacement.
        seed: of the draws.

    Raises:
        InputError: one side has fewer than two vectors.
    """
    size = min(subset_size, len(features1), len(features2))
    if size < 2:
        raise InputError(f"KID needs at least 2 feature vectors on each side, there are {size}")
    generator = torch.Generator().manual_seed(seed)

    def subset(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)].double()

    values = torch.stack([_mmd2(subset(features1), subset(features2)) for _ in range(num_subsets)])
    # Subsets that overlap by more than half hardly differ; one that is the whole set never does.
    apart = num_subsets > 1 and min(len(features1), len(features2)) >= 2 * size
    return Kid(float(values.mean()), float(values.std(unbiased=False)) if apart else None)
