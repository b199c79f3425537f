"""Density and coverage (Naeem et al. 2020): precision and recall that single outliers do not change much."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.scoring.further.precision_recall import CHUNK, distances, mean, radii

NEIGHBOURS = 5  # the authors' choice


@dataclass(frozen=True)
class Coverage:
    """Density, and which real vectors are covered.

    Attributes:
        density: mean number of real vectors' balls around a generated vector, divided by k; 1 is expected of a perfect
            generator, more is possible.
        covered: (N,) for each real vector, whether a generated one lies in its ball.
    """

    density: float
    covered: Tensor


def coverage(real: Tensor, generated: Tensor, neighbours: int = NEIGHBOURS, chunk: int = CHUNK) -> Coverage:
    """Density and coverage; the share of covered vectors is what the authors call coverage.

    A real vector's ball reaches to its k-th nearest other real vector.

    Args:
        real, generated: (N, D) and (M, D) features; N at least 2.
        neighbours: k, at least 1; at most N - 1 is used.
        chunk: rows and columns of the distance matrix that are in memory at the same time.
    """
    k = min(neighbours, len(real) - 1)
    inside, middle, covered = 0, mean(real), []
    for part, reach in zip(real.split(chunk), radii(real, k, chunk, middle).split(chunk), strict=True):
        hit = torch.zeros(len(part), dtype=torch.bool, device=real.device)
        for other in generated.split(chunk):
            within = distances(part, other, middle) <= reach[:, None]
            inside += int(within.sum())
            hit |= within.any(1)
        covered.append(hit)
    return Coverage(inside / (k * len(generated)), torch.cat(covered))


def by_class(flags: Tensor, labels: Tensor) -> dict[int, float]:
    """The share of flags (N,) that are set, for each class of `labels` (N,) that occurs."""
    return {int(label): float(flags[labels == label].float().mean()) for label in labels.unique()}
