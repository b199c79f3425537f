"""Precision and recall: whether generated images look real, and whether all kinds of real images are generated."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.io.errors import InputError

CHUNK = 2048  # rows and columns of a matrix of distances in memory at a time
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


def precision_recall(real: Tensor, generated: Tensor, neighbours: int = 3, chunk: int = CHUNK) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019, equation 2).

    The manifold of a set is a union of balls, one around each vector of the set. The radius of a ball is the distance
    from its vector to the `neighbours`-th nearest other vector of the set. Precision and recall depend on the numbers
    of vectors, so compare only figures with equal numbers.

    Args:
        real, generated: (N, D) and (M, D) features.
        neighbours: k, at least 1.
        chunk: rows and columns of the distance matrix that are in memory at the same time.

    Raises:
        InputError: a set has no more than `neighbours` vectors.
    """
    for name, features in (("real", real), ("generated", generated)):
        if len(features) <= neighbours:
            raise InputError(
                f"evaluate.neighbours: {neighbours} needs more images than that, there are {len(features)} {name}"
            )
    middle = mean(real)
    reach_real, reach_generated = (radii(x, neighbours, chunk, middle) for x in (real, generated))
    precise = torch.zeros(len(generated), dtype=torch.bool, device=real.device)
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for rows in _blocks(len(generated), chunk):
        for columns in _blocks(len(real), chunk):
            found = distances(generated[rows], real[columns], middle)
            precise[rows] |= (found <= reach_real[columns]).any(1)
            recalled[columns] |= (found <= reach_generated[rows, None]).any(0)
    return PrecisionRecall(int(precise.sum()) / len(generated), int(recalled.sum()) / len(real))


def _blocks(count: int, chunk: int) -> list[slice]:
    return [slice(first, min(first + chunk, count)) for first in range(0, count, chunk)]


def mean(x: Tensor) -> Tensor:
    """(D,) in float64 of vectors (N, D), of which no more than a part is in memory as float64."""
    total: Tensor = torch.stack([part.double().sum(0) for part in x.split(CHUNK)]).sum(0)
    return total / len(x)


def inside(points: Tensor, centres: Tensor, neighbours: int, chunk: int = CHUNK) -> Tensor:
    """(N,) for each of `points` (N, D), whether it lies inside the manifold of `centres` (M, D)."""
    middle = mean(centres)
    reach = radii(centres, neighbours, chunk, middle)
    within = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for rows in _blocks(len(points), chunk):
        for columns in _blocks(len(centres), chunk):
            within[rows] |= (distances(points[rows], centres[columns], middle) <= reach[columns]).any(1)
    return within


def radii(centres: Tensor, neighbours: int, chunk: int = CHUNK, middle: Tensor | None = None) -> Tensor:
    """(M,) distances from each of `centres` (M, D) to its k-th nearest other one.

    Each block of the symmetric matrix of distances is made once, and of each row only the smallest are kept.
    """
    middle = mean(centres) if middle is None else middle
    # The nearest vector is the vector itself, at distance 0. So the k-th nearest other one is number k + 1.
    nearest = torch.full((len(centres), neighbours + 1), torch.inf, device=centres.device)

    def keep(rows: slice, found: Tensor) -> None:
        nearest[rows] = torch.cat([nearest[rows], found], dim=1).topk(neighbours + 1, dim=1, largest=False).values

    blocks = _blocks(len(centres), chunk)
    for index, rows in enumerate(blocks):
        for columns in blocks[index:]:
            found = distances(centres[rows], centres[columns], middle)
            keep(rows, found)
            if columns != rows:
                keep(columns, found.T)
    return nearest[:, -1]


def distances(a: Tensor, b: Tensor, middle: Tensor | None = None) -> Tensor:
    """(N, M) Euclidean distances between the vectors of two sets (N, D) and (M, D), float32.

    By a matrix product, |x|^2 + |y|^2 - 2 x.y, which is some nine times faster than summing squared differences of
    2048 features. Rounding changes a squared distance by about 1e-15 of the squared lengths. So the product is in
    float64 and about a point in their midst, and what is below `SAME` of the lengths is given as 0: the distance of a
    vector to itself is 0. Equal distances are equal in float32, whatever the rounding in float64 was.

    Args:
        middle: (D,) float64, that point; None is the mean of `b`.
    """
    middle = mean(b) if middle is None else middle
    x, y = a.double() - middle, b.double() - middle
    found = torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist")
    lengths = x.norm(dim=1)[:, None] + y.norm(dim=1)
    return found.where(found > SAME * lengths, 0.0).float()
