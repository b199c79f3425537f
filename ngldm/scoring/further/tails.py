"""How well the tails of generated points fit: quantiles far out, how much lies beyond, and what comes together.

Distances of means and covariances, MMD and Wasserstein distances say next to nothing about tails: few points are there.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
LEVELS = (0.99, 0.999, 0.9999)  # of the exceedance ratios
FROM, TO, GRID = 0.95, 0.9999, 400  # the quantiles of the MSLE
LEAST = 1e-2  # an exceedance ratio counts at least as much, so that an empty tail has a finite logarithm
JOINT = 0.99  # the quantile beyond which a coordinate counts as large
TINY = np.finfo(np.float64).tiny


def log_quantile_error(radii: FloatArray, real: FloatArray) -> float:
    """Mean squared difference of the logarithms of quantiles 0.95 to 0.9999 (MSLE; Allouche et al. 2022).

    Args:
        radii, real: (M,) and (N,) distances of generated and real points from their centre.
    """
    levels = np.linspace(FROM, TO, GRID)
    logs = [np.log(np.quantile(values, levels).clip(min=TINY)) for values in (radii, real)]
    return float(np.square(logs[0] - logs[1]).mean())


def exceedance_ratios(radii: FloatArray, real: FloatArray) -> dict[float, float]:
    """For each of `LEVELS` the share of `radii` above the real quantile, divided by 1 - level: 1 is right.

    Args:
        radii, real: as in `log_quantile_error`. A ratio needs some 30 / (1 - level) points to mean something.
    """
    quantiles = np.quantile(real, LEVELS)
    return {
        level: float((radii > q).mean() / (1.0 - level)) for level, q in zip(LEVELS, quantiles.tolist(), strict=True)
    }


def mean_log_ratio(ratios: dict[float, float]) -> float:
    """Mean of |log10| of exceedance ratios: 0 is right, 1 is a factor of ten. A ratio counts as at least 0.01."""
    return float(np.mean([abs(np.log10(max(ratio, LEAST))) for ratio in ratios.values()]))


def joint_tail_ratio(points: NDArray[np.floating], real: NDArray[np.floating]) -> float | None:
    """How often two coordinates are large together, as a multiple of the real points' frequency.

    A coordinate is large if its distance from the real median is beyond the real 0.99 quantile of these distances. All
    pairs of columns count alike. 1 is right. Tails that are shared between coordinates and independent ones differ here
    and not in the other scores.

    Args:
        points, real: (M, d) and (N, d).

    Returns:
        None if d is 1, or if no two coordinates of a real point are large together.
    """
    median = np.median(real, axis=0)
    limit = np.quantile(np.abs(real - median), JOINT, axis=0)
    shares = [_pairs(np.abs(values - median) > limit) for values in (points, real)]
    return shares[0] / shares[1] if shares[1] else None


def _pairs(large: NDArray[np.bool_]) -> float:
    """Mean number of pairs of large coordinates of a point, of (N, d)."""
    count = large.sum(1, dtype=np.float64)
    return float((count * (count - 1.0) / 2.0).mean())
