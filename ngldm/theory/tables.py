"""The measurements of noises, as files. The stage `theory` writes them and the report reads them, without torch.

The files are theorem1.csv, moments.csv, and curves.json with the histograms and densities for the report's figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from ngldm.io.errors import InputError
from ngldm.io.files import atomic_directory, entry, read_csv, read_json, require, write_csv, write_json

STAGE = "the stage `theory`"


class TheoremRow(TypedDict):
    """Theorem 1's ratio for one noise, forward process and T.

    Attributes:
        noise: its label.
        forward: "marginal" or "markov".
        steps: T.
        ratio, std_error: mean distance under the noise divided by that under the Gaussian, and its standard error.
        rms_ratio, rms_std_error: the same of root mean square distances.
        kurtosis_left: fraction of the noise's excess kurtosis that the noise of x_T still has.
    """

    noise: str
    forward: str
    steps: int
    ratio: float
    std_error: float
    rms_ratio: float
    rms_std_error: float
    kurtosis_left: float


class MomentRow(TypedDict):
    """One moment of one noise: its exact value, and its value in a sample."""

    noise: str
    moment: str
    exact: float
    sampled: float


@dataclass(frozen=True)
class Histogram:
    """A histogram of draws of one noise: the n + 1 edges of n bins, and the density of the draws in each bin."""

    edges: Sequence[float]
    density: Sequence[float]


@dataclass(frozen=True)
class Density:
    """The exact density of one noise at the points x."""

    x: Sequence[float]
    density: Sequence[float]


@dataclass(frozen=True)
class Theory:
    """The measurements of the noises that are compared. Each noise is named by its label.

    Attributes:
        latent_shape: (c, h, w) of the latents that Theorem 1 was measured on.
        theorem: Theorem 1's ratios; the Gaussian itself has none.
        moments: all moments of the first noise, then of the next.
        histograms: of all noises.
        densities: of the noises whose density has a closed form.
    """

    latent_shape: tuple[int, ...]
    theorem: Sequence[TheoremRow]
    moments: Sequence[MomentRow]
    histograms: Mapping[str, Histogram]
    densities: Mapping[str, Density]


def write_theory(theory: Theory, path: Path) -> None:
    """Write the folder. It appears complete or not at all."""
    with atomic_directory(path) as folder:
        write_theorem(theory.theorem, folder / "theorem1.csv")
        write_csv(folder / "moments.csv", tuple(MomentRow.__annotations__), theory.moments)
        curves = {
            "latent_shape": theory.latent_shape,
            "histograms": {noise: asdict(histogram) for noise, histogram in theory.histograms.items()},
            "densities": {noise: asdict(density) for noise, density in theory.densities.items()},
        }
        write_json(folder / "curves.json", curves)


def read_theory(path: Path) -> Theory:
    """Read the folder that `write_theory` wrote.

    Raises:
        InputError: the folder or one of its files is missing or damaged, or has no noise.
    """
    file = require(path, STAGE) / "curves.json"
    curves = read_json(file, "latent_shape", "histograms", "densities")
    try:
        histograms = {noise: Histogram(**values) for noise, values in entry(curves, "histograms", dict, file).items()}
        densities = {noise: Density(**values) for noise, values in entry(curves, "densities", dict, file).items()}
    except TypeError as error:
        raise InputError(f"{file}: a curve is damaged ({error}); it comes from {STAGE}") from error
    theorem = read_csv(path / "theorem1.csv", STAGE, _theorem_row, TheoremRow.__annotations__)
    moments = read_csv(path / "moments.csv", STAGE, _moment_row, MomentRow.__annotations__)
    for name, part in (("curves.json", histograms), ("moments.csv", moments)):
        if not part:
            raise InputError(f"{path / name}: has no noise; it comes from {STAGE}")
    return Theory(
        latent_shape=tuple(entry(curves, "latent_shape", list, file)),
        theorem=theorem,
        moments=moments,
        histograms=histograms,
        densities=densities,
    )


def _theorem_row(row: dict[str, str]) -> TheoremRow:
    return TheoremRow(
        noise=row["noise"],
        forward=row["forward"],
        steps=int(row["steps"]),
        ratio=float(row["ratio"]),
        std_error=float(row["std_error"]),
        rms_ratio=float(row["rms_ratio"]),
        rms_std_error=float(row["rms_std_error"]),
        kurtosis_left=float(row["kurtosis_left"]),
    )


def _moment_row(row: dict[str, str]) -> MomentRow:
    return MomentRow(noise=row["noise"], moment=row["moment"], exact=float(row["exact"]), sampled=float(row["sampled"]))


def write_theorem(rows: Sequence[TheoremRow], path: Path) -> None:
    """Write Theorem 1's ratios as CSV. The file appears complete or not at all."""
    write_csv(path, tuple(TheoremRow.__annotations__), rows)
