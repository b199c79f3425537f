"""How well generated points fit where most of the data lie: the bulk, and the weights of the modes."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
DIRECTIONS = 64
EDGES = (0.01, 0.99)  # quantiles of each column; what lies outside is moved there, since tails are scored elsewhere
MOST = 50_000  # points of a set; a distance of more would cost more and change little


def sliced_wasserstein(points: NDArray[np.floating], real: NDArray[np.floating], seed: int = 0) -> float:
    """Mean Wasserstein-1 distance of random projections (Bonneel et al. 2015), of points clipped to the bulk.

    Args:
        points, real: (M, d) and (N, d); the first 50,000 of each.
        seed: of the directions.
    """
    low, high = np.quantile(real, EDGES, axis=0)
    normal = np.random.default_rng(seed).standard_normal((real.shape[1], DIRECTIONS))
    directions = normal / np.linalg.norm(normal, axis=0)
    mine, theirs = (values[:MOST].clip(low, high) @ directions for values in (points, real))
    from scipy.stats import wasserstein_distance  # not at the top: it would slow the start of every stage

    return float(np.mean([wasserstein_distance(mine[:, i], theirs[:, i]) for i in range(DIRECTIONS)]))


def mode_ratios(distances: FloatArray, real: FloatArray) -> list[float | None]:
    """For each mode the share of generated points whose nearest centre is its own, divided by the real share.

    Args:
        distances, real: (M, K) and (N, K) distances of generated and real points to the centres.

    Returns:
        K ratios, 1 is right; None where no real point is.
    """
    shares = [np.bincount(d.argmin(1), minlength=d.shape[1]) / len(d) for d in (distances, real)]
    return [float(mine / theirs) if theirs else None for mine, theirs in zip(*shares, strict=True)]
