"""The Frechet distance for infinitely many generated images (Chong and Forsyth 2020, "Effectively Unbiased FID").

The distance of N images is too large by about c / N, and c depends on the model: two models may change places with N.
"""

import numpy as np
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.scoring.distance.frechet import Moments, frechet_distance

POINTS = 15  # of the line, as in the authors' code
SMALLEST = 0.1  # of all images, the smallest set; the authors' 5000 of 50000


def smallest_set(count: int, dim: int, key: str = "evaluate.extrapolate") -> int:
    """The images of the smallest set of the line: a tenth, but so many that the covariance is not singular.

    Args:
        key: the setting that asks for the line, for the message.

    Raises:
        InputError: with so few images the line would be too short.
    """
    smallest = max(round(SMALLEST * count), dim + 1)
    if count < 2 * smallest:
        raise InputError(f"{key}: {count} images are too few for {dim} features; at least {2 * (dim + 1)} are needed")
    return smallest


def distance_at_infinity(features: Tensor, mu: Tensor, sigma: Tensor, seed: int = 0) -> float:
    """The value at 1 / N = 0 of a line through the distances of random sets of N images.

    Args:
        features: (N, D) of the generated images.
        mu, sigma: (D,) and (D, D), mean and covariance of the real images' features.
        seed: of the random sets.

    Raises:
        InputError: there are too few images.
    """
    smallest = smallest_set(*features.shape)
    sizes = np.linspace(smallest, len(features), POINTS).astype(int)
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for size in sizes.tolist():
        chosen = torch.randperm(len(features), generator=generator)[:size]
        moments = Moments(features.shape[1]).update(features[chosen])
        distances.append(frechet_distance(mu, sigma, moments.mean, moments.cov))
    return float(np.polynomial.Polynomial.fit(1.0 / sizes, distances, 1)(0.0))
