"""What is measured of noises, as files: the stage `theory` writes them, the report reads them, without torch.

On disk: theorem1.csv, moments.csv, and curves.json, which holds what the report's figure of the noises draws.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from ngldm.io.files import atomic_directory, atomic_path, entry, read_json, require, write_json


class TheoremRow(TypedDict):
    """Theorem 1's ratio for one noise, forward process and T.

    Attributes:
        noise: its label.
        forward: "marginal" or "markov".
        steps: T.
        ratio, std_error: of the mean distances, relative to the Gaussian's.
        rms_ratio, rms_std_error: of the root mean squares.
        kurtosis_left: share of the noise's excess kurtosis that x_T's noise still has.
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
    """One moment of one noise: in closed form, and of draws."""

    noise: str
    moment: str
    exact: float
    sampled: float


@dataclass(frozen=True)
class Histogram:
    """Draws of one noise: n + 1 edges of bins, and the density of the draws in each of the n bins."""

    edges: Sequence[float]
    density: Sequence[float]


@dataclass(frozen=True)
class Density:
    """Density of one noise, in closed form, at the points x."""

    x: Sequence[float]
    density: Sequence[float]


@dataclass(frozen=True)
class Theory:
    """What is known of the noises compared, each by its label.

    Attributes:
        latent_shape: (c, h, w) of the latents that Theorem 1 was measured on.
        theorem: Theorem 1's ratios; none for the Gaussian itself.
        moments: row by row, noise after noise.
        densities: of the noises that have one in closed form.
    """

    latent_shape: tuple[int, ...]
    theorem: Sequence[TheoremRow]
    moments: Sequence[MomentRow]
    histograms: Mapping[str, Histogram]
    densities: Mapping[str, Density]


def write_theory(theory: Theory, path: Path) -> None:
    """Write the folder, whole or not at all."""
    with atomic_directory(path) as folder:
        write_theorem(theory.theorem, folder / "theorem1.csv")
        _write_csv(theory.moments, tuple(MomentRow.__annotations__), folder / "moments.csv")
        curves = {
            "latent_shape": theory.latent_shape,
            "histograms": {noise: asdict(histogram) for noise, histogram in theory.histograms.items()},
            "densities": {noise: asdict(density) for noise, density in theory.densities.items()},
        }
        write_json(folder / "curves.json", curves)


def read_theory(path: Path) -> Theory:
    """What `write_theory` wrote.

    Raises:
        InputError: the folder or one of its files is missing or damaged.
    """
    curves = read_json(require(path, "the stage `theory`") / "curves.json", "latent_shape", "histograms", "densities")
    return Theory(
        latent_shape=tuple(entry(curves, "latent_shape", list)),
        theorem=[
            TheoremRow(
                noise=row["noise"],
                forward=row["forward"],
                steps=int(row["steps"]),
                ratio=float(row["ratio"]),
                std_error=float(row["std_error"]),
                rms_ratio=float(row["rms_ratio"]),
                rms_std_error=float(row["rms_std_error"]),
                kurtosis_left=float(row["kurtosis_left"]),
            )
            for row in _read_csv(path / "theorem1.csv")
        ],
        moments=[
            MomentRow(
                noise=row["noise"], moment=row["moment"], exact=float(row["exact"]), sampled=float(row["sampled"])
            )
            for row in _read_csv(path / "moments.csv")
        ],
        histograms={noise: Histogram(**values) for noise, values in entry(curves, "histograms", dict).items()},
        densities={noise: Density(**values) for noise, values in entry(curves, "densities", dict).items()},
    )


def write_theorem(rows: Sequence[TheoremRow], path: Path) -> None:
    """Write Theorem 1's ratios as CSV, whole or not at all."""
    _write_csv(rows, tuple(TheoremRow.__annotations__), path)


def _write_csv(rows: Iterable[Mapping[str, object]], columns: Sequence[str], path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _read_csv(path: Path) -> list[dict[str, str]]:
    with require(path, "the stage `theory`").open(newline="") as file:
        return list(csv.DictReader(file))
