"""All scores of generated points beside those of their features."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ngldm.scoring.further.bulk import mode_ratios, sliced_wasserstein
from ngldm.scoring.further.frame import Frame
from ngldm.scoring.further.tails import LEVELS, exceedance_ratios, joint_tail_ratio, log_quantile_error, mean_log_ratio

SHARES = tuple(float(share) for share in np.logspace(0.0, -4.0, 41)[1:])  # of the points, from 0.8 to 0.0001


def point_score_names(dim: int, modes: int) -> list[str]:
    """The names of all scores of `point_scores`, for points with `dim` columns and a number of known modes."""
    joint = ["joint_tail"] if dim > 1 else []
    weights = [f"mode_{k + 1}" for k in range(modes)] if modes > 1 else []
    return ["msle", *(f"beyond_{level}" for level in LEVELS), "tail_log10", *joint, "bulk_sw1", *weights]


def point_scores(
    points: NDArray[np.floating],
    real: NDArray[np.floating],
    centres: NDArray[np.float64],
    wanted: Collection[str] | None = None,
) -> dict[str, float]:
    """Tails, bulk and modes.

    A point's radius is its distance from the nearest centre (`Frame`).

    Args:
        points: (M, d) generated.
        real: (N, d) that no model was trained on.
        centres: (K, d) of the modes; (0, d) if they are not known.
        wanted: names of the scores; None takes all. The costly ones among the others are not computed.

    Returns:
        `msle`: error of the logarithms of the radius's quantiles. `beyond_0.99`, `beyond_0.999`, `beyond_0.9999`: share
        beyond the real quantile, divided by the share that should be there. `tail_log10`: mean |log10| of these.
        `joint_tail`: how often two coordinates are large together, against the real points. `bulk_sw1`: sliced
        Wasserstein distance of the bulk. `mode_1`, ...: weight of each mode, divided by the real weight. What cannot be
        told is left out.
    """
    asked = [name for name in point_score_names(real.shape[1], len(centres)) if wanted is None or name in wanted]
    frame = Frame.of(real, centres)
    distances, real_distances = frame.distances(points), frame.distances(real)
    radii, real_radii = distances.min(1), real_distances.min(1)
    ratios = exceedance_ratios(radii, real_radii)
    found: dict[str, float | None] = {
        "msle": log_quantile_error(radii, real_radii),
        **{f"beyond_{level}": ratio for level, ratio in ratios.items()},
        "tail_log10": mean_log_ratio(ratios),
        **{f"mode_{k + 1}": ratio for k, ratio in enumerate(mode_ratios(distances, real_distances))},
    }
    if "joint_tail" in asked:
        found["joint_tail"] = joint_tail_ratio(points, real)
    if "bulk_sw1" in asked:
        found["bulk_sw1"] = sliced_wasserstein(frame.scaled(points), frame.scaled(real))
    return {name: value for name in asked if (value := found[name]) is not None}


def tail_radii(
    points: NDArray[np.floating], real: NDArray[np.floating], centres: NDArray[np.float64]
) -> list[float | None]:
    """For each of `SHARES` the radius beyond which this share of the points lies; None where that is no whole point.

    Args:
        points, real, centres: as in `point_scores`.
    """
    radii = Frame.of(real, centres).distances(points).min(1)
    quantiles = np.quantile(radii, 1.0 - np.array(SHARES)).tolist()
    return [q if share * len(points) >= 1.0 else None for share, q in zip(SHARES, quantiles, strict=True)]
