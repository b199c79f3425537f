"""Precision and recall: whether generated images look real, and whether all kinds of real images are generated."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.io.errors import InputError

SAME = 1e-6  # of the lengths of two vectors; float32 features cannot tell shorter distances from rounding


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
    precise, recalled = (inside(*pair, neighbours, chunk) for pair in ((generated, real), (real, generated)))
    return PrecisionRecall(int(precise.sum()) / len(generated), int(recalled.sum()) / len(real))


def inside(points: Tensor, centres: Tensor, neighbours: int, chunk: int = 1024) -> Tensor:
    """(N,) for each of `points` (N, D), whether it lies inside the manifold of `centres` (M, D)."""
    reach = radii(centres, neighbours, chunk)
    return torch.cat([(distances(part, centres) <= reach).any(1) for part in points.split(chunk)])


def radii(centres: Tensor, neighbours: int, chunk: int = 1024) -> Tensor:
    """(M,) distances from each of `centres` (M, D) to its k-th nearest other one."""
    # The nearest vector is the vector itself, at distance 0. So the k-th nearest other one is number k + 1.
    return torch.cat([distances(part, centres).kthvalue(neighbours + 1, dim=1).values for part in centres.split(chunk)])


def distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) Euclidean distances between the vectors of two sets (N, D) and (M, D), float32.

    By a matrix product, |x|^2 + |y|^2 - 2 x.y, which is some nine times faster than summing squared differences of
    2048 features. Rounding changes a squared distance by about 1e-15 of the squared lengths. So the product is in
    float64 and about the mean of `b`, and what is below `SAME` of the lengths is given as 0: the distance of a vector
    to itself is 0. Equal distances are equal in float32, whatever the rounding in float64 was.
    """
    middle = b.double().mean(0)
    x, y = a.double() - middle, b.double() - middle
    found = torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist")
    lengths = x.norm(dim=1)[:, None] + y.norm(dim=1)
    return found.where(found > SAME * lengths, 0.0).float()
