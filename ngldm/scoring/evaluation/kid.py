"""Kernel distance (KID) of feature sets (Binkowski et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.io.errors import InputError


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
    """Unbiased squared MMD of (n, D) and (n, D) with the kernel (x.y / D + 1)^3."""
    n, dim = x.shape
    kxx, kyy, kxy = ((a @ b.T / dim + 1.0) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (kxx.sum() - kxx.trace() + kyy.sum() - kyy.trace()) / (n * (n - 1))
    return within - 2.0 * kxy.mean()


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
    x, y = features1.double(), features2.double()
    values = torch.stack(
        [
            _mmd2(
                x[torch.randperm(len(x), generator=generator)[:size]],
                y[torch.randperm(len(y), generator=generator)[:size]],
            )
            for _ in range(num_subsets)
        ]
    )
    # Subsets that overlap by more than half hardly differ; one that is the whole set never does.
    apart = num_subsets > 1 and min(len(x), len(y)) >= 2 * size
    return Kid(float(values.mean()), float(values.std(unbiased=False)) if apart else None)
