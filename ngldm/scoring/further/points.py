"""All scores of generated points beside those of their features."""

import numpy as np
from numpy.typing import NDArray

from ngldm.scoring.further.bulk import mode_ratios, sliced_wasserstein
from ngldm.scoring.further.frame import Frame
from ngldm.scoring.further.tails import exceedance_ratios, joint_tail_ratio, log_quantile_error, mean_log_ratio

SHARES = tuple(float(share) for share in np.logspace(0.0, -4.0, 41)[1:])  # of the points, from 0.8 to 0.0001


def point_scores(
    points: NDArray[np.floating], real: NDArray[np.floating], centres: NDArray[np.float64]
) -> dict[str, float]:
    """Tails, bulk and modes.

    A point's radius is its distance from the nearest centre (`Frame`).

    Args:
        points: (M, d) generated.
        real: (N, d) that no model was trained on.
        centres: (K, d) of the modes; (0, d) if they are not known.

    Returns:
        `msle`: error of the logarithms of the radius's quantiles. `beyond_0.99`, `beyond_0.999`, `beyond_0.9999`: share
        beyond the real quantile, divided by the share that should be there. `tail_log10`: mean |log10| of these.
        `joint_tail`: how often two coordinates are large together, against the real points. `bulk_sw1`: sliced
        Wasserstein distance of the bulk. `mode_1`, ...: weight of each mode, divided by the real weight. What cannot be
        told is left out.
    """
    frame = Frame.of(real, centres)
    distances, real_distances = frame.distances(points), frame.distances(real)
    radii, real_radii = distances.min(1), real_distances.min(1)
    ratios = exceedance_ratios(radii, real_radii)
    found: dict[str, float | None] = {
        "msle": log_quantile_error(radii, real_radii),
        **{f"beyond_{level}": ratio for level, ratio in ratios.items()},
        "tail_log10": mean_log_ratio(ratios),
        "joint_tail": joint_tail_ratio(points, real),
        "bulk_sw1": sliced_wasserstein(frame.scaled(points), frame.scaled(real)),
    }
    if len(centres) > 1:
        found |= {f"mode_{k + 1}": ratio for k, ratio in enumerate(mode_ratios(distances, real_distances))}
    return {key: value for key, value in found.items() if value is not None}


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
