"""Precision and recall: whether generated images look real, and whether all kinds of real images are generated."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.io.errors import InputError


@dataclass(frozen=True)
class PrecisionRecall:
    """Both in [0, 1].

    Attributes:
        precision: share of generated vectors inside the real ones' manifold.
        recall: share of real vectors inside the generated ones' manifold.
    """

    precision: float
    recall: float


def precision_recall(real: Tensor, generated: Tensor, neighbours: int = 3, chunk: int = 1024) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019, equation 2).

    The manifold of a set is a union of balls, one around each vector of the set. The radius of a ball is the distance
    from its vector to the `neighbours`-th nearest other vector of the set. Precision and recall depend on the numbers
    of vectors, so compare only figures with equal numbers.

    Args:
        real, generated: (N, D) and (M, D) features.
        neighbours: k, at least 1.
        chunk: rows of the distance matrix that are in memory at the same time.

    Raises:
        InputError: a set has no more than `neighbours` vectors.
    """
    for name, features in (("real", real), ("generated", generated)):
        if len(features) <= neighbours:
            raise InputError(
                f"evaluate.neighbours: {neighbours} needs more images than that, there are {len(features)} {name}"
            )
    return PrecisionRecall(_covered(generated, real, neighbours, chunk), _covered(real, generated, neighbours, chunk))


def _covered(points: Tensor, centres: Tensor, neighbours: int, chunk: int) -> float:
    """Share of `points` inside the manifold of `centres`."""
    points, centres = points.float(), centres.float()
    # The nearest vector is the vector itself, at distance 0. So the k-th nearest other one is number k + 1.
    radii = torch.cat(
        [_distances(part, centres).kthvalue(neighbours + 1, dim=1).values for part in centres.split(chunk)]
    )
    inside = sum(int((_distances(part, centres) <= radii).any(1).sum()) for part in points.split(chunk))
    return inside / len(points)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # The faster way, by a matrix product, does not give exactly 0 for the distance of a vector to itself.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
