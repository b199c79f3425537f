"""Memorisation: whether generated images are nearer to training images than images never seen are."""

import torch
from torch import Tensor

from ngldm.scoring.further.precision_recall import distances


def memorised(generated: Tensor, train: Tensor, test: Tensor, chunk: int = 1024) -> Tensor:
    """(M,) for each generated vector, whether it is nearer to a training vector than to any test vector.

    A generator of the true distribution is expected to reach N / (N + T) of them. More means that it copies.

    Args:
        generated, train, test: (M, D), (N, D) and (T, D) features.
        chunk: rows of the distance matrix that are in memory at the same time.
    """
    nearer = []
    for part in generated.split(chunk):
        nearest = [_nearest(part, real, chunk) for real in (train, test)]
        nearer.append(nearest[0] < nearest[1])
    return torch.cat(nearer)


def _nearest(points: Tensor, real: Tensor, chunk: int) -> Tensor:
    """(B,) distances to the nearest real vector."""
    return torch.stack([distances(points, part).amin(1) for part in real.split(chunk)]).amin(0)
