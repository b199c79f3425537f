"""Frechet distance between two sets of feature vectors (the formula of FID), in float64."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.io.errors import InputError

Array = Tensor | NDArray[np.floating]


class Moments:
    """Streaming mean and covariance of feature vectors.

    Batches are merged by the parallel update of Chan et al. (1983). Sums of squares would lose digits when the mean is
    much larger than the spread; this update does not.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64, device=device)
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    def update(self, features: Tensor) -> "Moments":
        """Add features (B, dim). Returns itself."""
        x = features.to(self.mean)
        if len(x) == 0:
            return self
        total = self.count + len(x)
        mean = x.mean(0)
        centred, delta = x - mean, mean - self.mean
        self._scatter += centred.T @ centred + torch.outer(delta, delta) * (self.count * len(x) / total)
        self.mean = self.mean + delta * (len(x) / total)
        self.count = total
        return self

    @property
    def cov(self) -> Tensor:
        """Unbiased covariance (dim, dim), as numpy.cov computes it.

        Raises:
            InputError: fewer than two feature vectors.
        """
        if self.count < 2:
            raise InputError(f"a covariance needs at least 2 feature vectors, there are {self.count}")
        return self._scatter / (self.count - 1)


def _cholesky(matrix: Tensor) -> Tensor | None:
    """Cholesky's factor of a matrix; None if the matrix is singular."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if failed else factor


def _factor(matrix: Tensor) -> Tensor:
    """F (D, R) with F F^T = the positive semi-definite matrix (D, D), which has the rank R."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > values[-1] * len(matrix) * torch.finfo(matrix.dtype).eps
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor


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
    if not found.isfinite().all():
        raise InputError(f"{key}: holds NaN or infinite numbers")
    if found.ndim == 2 and not torch.allclose(found, found.T, rtol=0.0, atol=1e-3 * float(found.abs().amax())):
        raise InputError(f"{key}: is not symmetric, so it is no covariance")
    return found


def frechet_distance(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array) -> float:
    """Squared Frechet distance between N(mu1, sigma1) and N(mu2, sigma2) (Heusel et al. 2017).

    The distance is |mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)). Let sigma1 = F F^T. Then the matrix
    F^T sigma2 F is symmetric and has the same eigenvalues as sigma1 sigma2, except zeros. They are real and not
    negative, so no imaginary part has to be dropped and no covariance changed. The trace of the root is the sum of
    their roots. F is Cholesky's factor of one of the covariances. If both are singular (fewer images than features), F
    comes from eigenvectors and has as many columns as the rank.

    Args:
        mu1, mu2: (D,) means, torch tensors or numpy arrays.
        sigma1, sigma2: (D, D) covariances, symmetric and positive semi-definite.

    Raises:
        InputError: other shapes, a NaN or infinite number, or a covariance that is not symmetric.
    """
    dim = max(1, math.prod(np.shape(mu1)))
    given = {"mu1": mu1, "sigma1": sigma1, "mu2": mu2, "sigma2": sigma2}
    mu1, sigma1, mu2, sigma2 = (_checked(key, value, dim) for key, value in given.items())
    other, factor = sigma2, _cholesky(sigma1)
    if factor is None:
        other, factor = sigma1, _cholesky(sigma2)
    if factor is None:
        factor = _factor(sigma2)
    cross = _trace_of_root(factor.T @ other @ factor)
    return float((mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace() - 2.0 * cross)


def frechet_spread(features: Tensor, mu: Tensor, sigma: Tensor, repeats: int, seed: int = 0) -> float:
    """Standard deviation of the Frechet distance over bootstrap draws of `features`.

    It estimates how much the distance would change with another set of generated images. A draw with replacement has
    fewer different vectors than the set. This makes the distances of the draws larger, but hardly changes their spread.

    Args:
        features: (N, D) of the generated images.
        mu, sigma: mean (D,) and covariance (D, D) of the real images, taken as exact.
        repeats: number of draws, at least 2.
        seed: of the draws.

    Raises:
        InputError: fewer than 2 repeats or vectors.
    """
    count = len(features)
    if repeats < 2 or count < 2:
        raise InputError(f"a spread needs at least 2 repeats and vectors, there are {repeats} and {count}")
    generator = torch.Generator().manual_seed(seed)
    mu, sigma = mu.double(), sigma.double()
    x = features.double() - mu  # this leaves sigma unchanged and keeps the means small
    few = count <= x.shape[1]
    # sigma X^T X and X sigma X^T have the same eigenvalues. A draw takes rows and columns of the second, and centres.
    whole = x @ sigma @ x.T if few else x @ _factor(sigma)
    values = []
    for _ in range(repeats):
        index = torch.randint(count, (count,), generator=generator)
        if few:
            gram = whole[index][:, index]
            gram = gram - gram.mean(0)
            product = gram - gram.mean(1, keepdim=True)
        else:
            centred = whole[index] - whole[index].mean(0)
            product = centred.T @ centred
        cross = _trace_of_root(product / (count - 1))
        draw = x[index]
        # The trace of sigma is the same for every draw, so it does not change the spread and is left out.
        values.append(draw.mean(0).square().sum() + draw.var(0).sum() - 2.0 * cross)
    return float(torch.stack(values).std())
