"""Synthetic laws of points: mixtures whose modes have light or heavy tails, in any dimension."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ngldm.data.sources.names import TAILS
from ngldm.io.errors import InputError, require_real, require_whole, unknown

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MixtureLaw:
    """x = centre of a random mode + scale * z, where z has the law `tails`.

    z is sqrt(A) times a standard Gaussian. With `shared`, one A per point multiplies all coordinates: the tails are
    isotropic, and large values come together. Else each coordinate has its own A, and the coordinates are independent.

    Attributes:
        dim: d, at least 1.
        tails: "gaussian": A = 1. "student_t": z is Student's t with `df` degrees of freedom, A = df / chi2(df).
            "stable": z is alpha-stable, its characteristic function exp(-|u|^alpha); A is positive stable of index
            alpha / 2 (Kanter 1975).
        shared: see above.
        df: above 0, for "student_t"; the variance is infinite for 2 or less.
        alpha: above 0 and below 2, for "stable"; the variance is infinite.
        weights: of the modes, above 0; divided by their sum.
        radius: distance of the centres from the origin, at least 0. The centres lie on a circle in the first two
            coordinates, evenly spaced; with one coordinate on a line from -radius to radius. One mode lies at 0.
        scale: above 0.

    Raises:
        InputError: a value is out of range.
    """

    dim: int
    tails: str = "student_t"
    shared: bool = True
    df: float | None = None
    alpha: float | None = None
    weights: Sequence[float] = (1.0,)
    radius: float = 4.0
    scale: float = 0.5

    def __post_init__(self) -> None:
        require_whole("dataset.law.dim", self.dim, 1)
        if self.tails not in TAILS:
            raise unknown("dataset.law.tails", self.tails, TAILS)
        for key, owner, below in (("df", "student_t", math.inf), ("alpha", "stable", 2.0)):
            value = getattr(self, key)
            if self.tails != owner and value is not None:
                raise InputError(f"dataset.law.{key}: not an option of the tails {self.tails!r}")
            if self.tails == owner and not 0.0 < require_real(f"dataset.law.{key}", value) < below:
                raise InputError(f"dataset.law.{key}: {value} must lie between 0 and {below}, both excluded")
        weights = [require_real(f"dataset.law.weights[{i}]", weight) for i, weight in enumerate(self.weights)]
        if not weights or not min(weights) > 0.0 or not math.isfinite(sum(weights)):
            raise InputError(f"dataset.law.weights: {weights} must be one or more numbers above 0, with a finite sum")
        radius, scale = (require_real(f"dataset.law.{key}", getattr(self, key)) for key in ("radius", "scale"))
        if not 0.0 <= radius < math.inf or not 0.0 < scale < math.inf:
            raise InputError(f"dataset.law: radius {radius} must be at least 0, scale {scale} above 0")

    @property
    def centres(self) -> FloatArray:
        """Of the modes: (K, d)."""
        count = len(self.weights)
        centres = np.zeros((count, self.dim))
        if count > 1 and self.dim == 1:
            centres[:, 0] = np.linspace(-self.radius, self.radius, count)
        elif count > 1:
            angles = 2.0 * np.pi * np.arange(count) / count
            centres[:, 0], centres[:, 1] = self.radius * np.cos(angles), self.radius * np.sin(angles)
        return centres

    def draw(self, count: int, generator: np.random.Generator) -> tuple[FloatArray, NDArray[np.int64]]:
        """Points (count, d), and the number of the mode of each."""
        weights = np.array(self.weights)
        modes = generator.choice(len(weights), count, p=weights / weights.sum())
        normal = generator.standard_normal((count, self.dim))
        factor = np.sqrt(self._mixing((count, 1 if self.shared else self.dim), generator))
        return self.centres[modes] + self.scale * factor * normal, modes.astype(np.int64)

    def _mixing(self, shape: tuple[int, int], generator: np.random.Generator) -> FloatArray:
        """A, the factor of the Gaussian's variance."""
        if self.tails == "student_t" and self.df is not None:
            return self.df / np.maximum(generator.chisquare(self.df, shape), np.finfo(np.float64).tiny)
        if self.tails == "stable" and self.alpha is not None:
            return 2.0 * positive_stable(self.alpha / 2.0, shape, generator)
        return np.ones(shape)


def positive_stable(index: float, shape: tuple[int, ...], generator: np.random.Generator) -> FloatArray:
    """Positive draws S with E exp(-s S) = exp(-s^index), by Kanter's method (1975). 0 < index < 1."""
    angle = np.pi * generator.random(shape).clip(1e-12, 1.0 - 1e-12)
    exponential = generator.standard_exponential(shape).clip(min=1e-300)
    shared = np.sin(index * angle) / np.sin(angle) ** (1.0 / index)
    draws: FloatArray = shared * (np.sin((1.0 - index) * angle) / exponential) ** ((1.0 - index) / index)
    return draws
