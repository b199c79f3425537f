"""Frechet distance between two sets of feature vectors (the formula of FID), in float64."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.data.reference import require_covariance
from ngldm.io.errors import InputError

CHUNK = 4096  # feature vectors
Array = Tensor | NDArray[np.floating]


class Moments:
    """Streaming mean and covariance of feature vectors.

    Batches are merged by the parallel update of Chan et al. (1983). Sums of squares would lose digits when the mean is
    much larger than the spread; this update does not.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    def update(self, features: Tensor) -> "Moments":
        """Add features (B, dim). Returns itself."""
        for part in features.split(CHUNK):  # so that no more than a part is in memory as float64
            self._add(part.to(self.mean))
        return self

    def _add(self, x: Tensor) -> None:
        if len(x) == 0:
            return
        total = self.count + len(x)
        mean = x.mean(0)
        centred, delta = x - mean, mean - self.mean
        self.scatter += centred.T @ centred + torch.outer(delta, delta) * (self.count * len(x) / total)
        self.mean = self.mean + delta * (len(x) / total)
        self.count = total

    @property
    def cov(self) -> Tensor:
        """Unbiased covariance (dim, dim), as numpy.cov computes it.

        Raises:
            InputError: fewer than two feature vectors.
        """
        if self.count < 2:
            raise InputError(f"a covariance needs at least 2 feature vectors, there are {self.count}")
        return self.scatter / (self.count - 1)


def _cholesky(matrix: Tensor) -> Tensor | None:
    """Cholesky's factor of a matrix; None if the matrix is singular."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if failed else factor


def factor(matrix: Tensor) -> Tensor:
    """F (D, R) with F F^T = the positive semi-definite matrix (D, D), which has the rank R."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > values[-1] * len(matrix) * torch.finfo(matrix.dtype).eps
    found: Tensor = vectors[:, kept] * values[kept].sqrt()
    return found


def _trace_of_root(product: Tensor) -> Tensor:
    """tr P^(1/2) of a positive semi-definite P. By rounding, P may be slightly unsymmetric."""
    trace: Tensor = torch.linalg.eigvalsh((product + product.T) / 2.0).clamp(min=0.0).sqrt().sum()
    return trace


def _checked(key: str, value: Array, dim: int) -> Tensor:
    """A mean (D,) or a covariance (D, D) in float64. Of other shapes broadcasting would make a wrong distance.

    Raises:
        InputError: what is wrong with it.
    """
    value = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value  # torch takes no negative strides
    found = torch.as_tensor(value, dtype=torch.float64)
    wanted = (dim,) if key.startswith("mu") else (dim, dim)
    if found.shape != wanted:
        raise InputError(f"{key}: shape {tuple(found.shape)}, must be {wanted}, from the length of mu1")
    if found.ndim == 2:
        require_covariance(key, found)
    elif not found.isfinite().all():
        raise InputError(f"{key}: NaN or infinite numbers")
    return found


def frechet_distance(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array) -> float:
    """Squared Frechet distance between N(mu1, sigma1) and N(mu2, sigma2) (Heusel et al. 2017).

    The distance is |mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)). Let sigma1 = F F^T. Then the matrix
    F^T sigma2 F is symmetric and has the same eigenvalues as sigma1 sigma2, except zeros. They are real and not
    negative, so no imaginary part has to be dropped and no covariance changed. The trace of the root is the sum of
    their roots. F is Cholesky's factor of one of the covariances. If both are singular (fewer images than features), F
    comes from eigenvectors and has as many columns as the rank.

    Args:
        mu1, mu2: (D,) means, torch tensors or numpy arrays. The distance is computed on a GPU if one of them is there.
        sigma1, sigma2: (D, D) covariances, symmetric and positive semi-definite.

    Raises:
        InputError: other shapes, NaN or infinite numbers, a matrix that is no covariance, or numbers so large that the
            distance leaves the range of float64.
    """
    dim = max(1, math.prod(np.shape(mu1)))
    given = {"mu1": mu1, "sigma1": sigma1, "mu2": mu2, "sigma2": sigma2}
    device = next((x.device for x in given.values() if isinstance(x, Tensor) and x.is_cuda), torch.device("cpu"))
    mu1, sigma1, mu2, sigma2 = (_checked(key, value, dim).to(device) for key, value in given.items())
    other, root = sigma2, _cholesky(sigma1)
    if root is None:
        other, root = sigma1, _cholesky(sigma2)
    if root is None:
        root = factor(sigma2)
    product = root.T @ other @ root
    apart = (mu1 - mu2).square().sum()
    if not (apart.isfinite() and product.isfinite().all()):
        raise InputError("mu1, sigma1, mu2, sigma2: so large that their distance is not a finite number")
    distance = apart + sigma1.trace() + sigma2.trace() - 2.0 * _trace_of_root(product)
    return float(distance.clamp(min=0.0))  # of equal sets, rounding can make it -1e-14
