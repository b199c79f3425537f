"""The frame in which points are scored: where their middle is, how large they are, and what counts as far out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """Centres and unit of the columns.

    Attributes:
        centres: (K, d) of the modes; a single row if the modes are not known.
        unit: (d,) of each column.
    """

    centres: FloatArray
    unit: FloatArray

    @classmethod
    def of(cls, real: NDArray[np.floating], centres: FloatArray) -> "Frame":
        """The frame of real points (N, d).

        With known `centres` (K, d), distances are taken as they are. Without (K = 0), the one centre is the median of
        each column and the unit its quartile range: the columns may have different units.
        """
        if len(centres):
            return cls(centres, np.ones(real.shape[1]))
        low, median, high = np.quantile(real, (0.25, 0.5, 0.75), axis=0)
        return cls(median[None], np.where(high > low, high - low, real.std(0, dtype=np.float64)))

    def scaled(self, points: NDArray[np.floating]) -> FloatArray:
        """Points (N, d) in units of the columns."""
        found: FloatArray = points / self.unit
        return found

    def distances(self, points: NDArray[np.floating]) -> FloatArray:
        """(N, K) distances of points (N, d) to the centres."""
        from scipy.spatial.distance import cdist  # not at the top: it would slow the start of every stage

        found: FloatArray = cdist(self.scaled(points), self.scaled(self.centres))
        return found
