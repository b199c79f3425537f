"""What another set of generated images of the same size would change of the Frechet distance.

The jackknife, made right near the floor. Write the distance of N independent vectors as a sum of terms of one vector,
of two, and so on (Efron and Stein 1981); its variance is the sum of the terms' variances v_1 + v_2 + ... The jackknife
estimates v_1 + 2 v_2 + ..., the bootstrap v_1 + 3 v_2 + ... Far from the floor v_1 is nearly all. At the floor, where
the distance has its minimum, v_1 is 0 and both are far too large. v_2 is measured here by leaving out two vectors at a
time, and taken off once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.scoring.distance.frechet import Moments, factor

FEWEST = 4  # two are left out, and a covariance needs two
PAIRS = 2**12  # that are left out: v_2 is then known to some 5 %
CHUNK = 1024  # rows at once, for the memory
STEP, REACH = 1.0, 42.0  # of the integral's steps in ln s; relative error 1e-9


@dataclass(frozen=True)
class _Set:
    """Feature vectors beside N(mu, sigma), and their Frechet distance when some of them are left out.

    Let C be the vectors' scatter matrix and A = sigma^(1/2) C sigma^(1/2), with eigenvalues `values`. Leaving out one
    or two vectors takes a matrix of that rank from A. The trace of the root that is left follows from
    tr A^(1/2) - tr B^(1/2) = 1 / (2 pi) int_0^inf s^(-1/2) ln(det(A + s) / det(B + s)) ds,
    and the ratio of the determinants is that of a matrix of 1 or 2 rows, whose elements `kernel` gives.

    Attributes:
        features: (N, D), as given. In float64 only some rows are in memory at a time.
        origin: (D,) mean of the vectors.
        mean: (D,) of the vectors, less mu.
        scatter: trace of C.
        projection: (D, R) or (N, R); see `left`.
        values: (R,) squared singular values of the centred vectors times a root of sigma.
        nodes, weights: (S,) s and s^(-1/2) ds / (2 pi) of the integral.
    """

    features: Tensor
    origin: Tensor
    mean: Tensor
    scatter: Tensor
    projection: Tensor
    values: Tensor
    nodes: Tensor
    weights: Tensor

    def centred(self, i: Tensor) -> Tensor:
        """(P, D): vectors i, less their mean."""
        return self.features[i].double() - self.origin

    def left(self, i: Tensor) -> Tensor:
        """(P, R): rows i of the left singular vectors of the centred vectors times a root of sigma."""
        count, dim = self.features.shape
        return self.projection[i] if count <= dim else self.centred(i) @ self.projection

    def kernel(self, i: Tensor, j: Tensor, same: float) -> Tensor:
        """(P, S): elements (i, j) of 1 - 1/N - left (values / (values + s)) left^T, `same` being 1 where i = j.

        Written with s / (values + s), because it is small at small s.
        """
        count, rank = len(self.features), self.projection.shape[1]
        product = self.left(i) * self.left(j)
        rest = 0.0 if rank == count - 1 else same - 1.0 / count - product.sum(1, keepdim=True)
        return rest + product @ (self.nodes / (self.values[:, None] + self.nodes))

    def distance(self, left_out: int, shift: Tensor, gone: Tensor, determinant: Tensor) -> Tensor:
        """(P,) distances, up to tr sigma, which is the same for all.

        Args:
            left_out: how many vectors are.
            shift: (P, D) their sums, without the mean.
            gone: (P,) sums of their squared lengths.
            determinant: (P, S) of the kernel between them.
        """
        kept = len(self.features) - left_out
        scatter = self.scatter - gone - shift.square().sum(-1) / kept
        roots = self.values.sqrt().sum() + (determinant * (len(self.features) / kept)).log() @ self.weights
        return (self.mean - shift / kept).square().sum(-1) + scatter / (kept - 1) - 2.0 * roots / math.sqrt(kept - 1)


def _decompose(features: Tensor, mu: Tensor, sigma: Tensor) -> _Set:
    moments = Moments(features.shape[1], features.device).update(features)
    few = len(features) <= features.shape[1]
    if few:
        centred = features.double() - moments.mean
        whole = centred @ sigma @ centred.T
    else:
        root = factor(sigma)
        whole = root.T @ moments.scatter @ root
    values, vectors = torch.linalg.eigh(whole)
    kept = values > values[-1:].clamp(min=0.0) * max(features.shape) * torch.finfo(values.dtype).eps
    values, vectors = values[kept], vectors[:, kept]
    projection = vectors if few else root @ vectors / values.sqrt()
    largest = values[-1] if len(values) else 1.0
    steps = torch.arange(-REACH, REACH + STEP, STEP, dtype=torch.float64, device=features.device)
    nodes, scatter = largest * steps.exp(), moments.scatter.trace()
    weights = STEP * nodes.sqrt() / (2.0 * math.pi)
    return _Set(features, moments.mean, moments.mean - mu, scatter, projection, values, nodes, weights)


def frechet_spread(features: Tensor, mu: Tensor, sigma: Tensor, seed: int = 0) -> float:
    """Standard deviation of the Frechet distance over sets of as many images of the same model.

    On average it is 0.85 to 1.2 times the deviation over fresh sets, near the floor and far from it, for N from D / 2
    to 100 D. Most of its cost is one eigendecomposition of min(N, D) rows.

    Args:
        features: (N, D) of the generated images.
        mu, sigma: statistics of the real ones, taken as exact.
        seed: of the pairs that are left out.

    Raises:
        InputError: fewer than 4 vectors.
    """
    n = len(features)
    if n < FEWEST:
        raise InputError(f"a spread needs at least {FEWEST} feature vectors, there are {n}")
    vectors = _decompose(features, mu.to(features.device).double(), sigma.to(features.device).double())
    nothing = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    whole = vectors.distance(0, nothing, nothing.sum(), torch.ones_like(vectors.nodes))
    lengths, diagonal, single = map(torch.cat, zip(*_one_left_out(vectors), strict=True))
    jackknife = (n - 1) * single.var(unbiased=False)
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(n, (PAIRS,), generator=generator)
    second = (first + torch.randint(1, n, (PAIRS,), generator=generator)) % n
    terms = []
    for i, j in zip(first.split(CHUNK), second.split(CHUNK), strict=True):
        determinant = diagonal[i] * diagonal[j] - vectors.kernel(i, j, 0.0).square()
        both = vectors.distance(2, vectors.centred(i) + vectors.centred(j), lengths[i] + lengths[j], determinant)
        terms.append(n * whole - (n - 1) * (single[i] + single[j]) + (n - 2) * both)
    second_order = torch.cat(terms).var() / 2.0
    # 2 v_2 is a part of the jackknife's variance, so that v_2 is at most its half.
    return float((jackknife - torch.minimum(second_order, jackknife / 2.0)).sqrt())


def _one_left_out(vectors: _Set) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of some vectors at a time: (P,) squared lengths, (P, S) `kernel` with themselves, (P,) distances without each."""
    for i in torch.arange(len(vectors.features)).split(CHUNK):
        x, diagonal = vectors.centred(i), vectors.kernel(i, i, 1.0)
        lengths = x.square().sum(1)
        yield lengths, diagonal, vectors.distance(1, x, lengths, diagonal)
