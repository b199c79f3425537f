"""Score by epoch, ours and the paper's: a figure and a table for the report."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ngldm.plumbing import paths

PAPER_CSV = Path(__file__).with_name("paper_fid_by_epoch.csv")  # the paper's full table: five noises, every 5th epoch
PAPER_COLUMNS = ("noise", "ours", "metric", "paper: last", "paper: best", "paper: best epoch", "paper: mean of last 10")
Curve = list[tuple[float, float]]


def read_curves(noises: list[str]) -> dict[str, Curve]:
    """(epoch, score) of each noise that has snapshots."""
    curves = {}
    for noise in noises:
        with (paths.CURVE / f"{noise}.csv").open(newline="") as file:
            points = [(float(row["epoch"]), float(row["value"])) for row in csv.DictReader(file)]
        if points:
            curves[noise] = points
    return curves


def paper_curves() -> dict[str, Curve]:
    """The paper's FID (by its own protocol) on CIFAR-10 by epoch, for its five noises."""
    with PAPER_CSV.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "epoch"]
    return {name: [(float(row["epoch"]), float(row[name])) for row in rows] for name in names}


def paper_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Our best sampler's score of each noise beside the paper's figures.

    Args:
        rows: of the report's table.
    """
    table = []
    for noise, curve in paper_curves().items():
        mine = min((row for row in rows if row["noise"] == noise), key=lambda row: row["value"], default=None)
        if mine is None:
            continue
        epoch, best = min(curve, key=lambda point: point[1])
        last = [value for _, value in curve[-10:]]
        values = (noise, mine["value"], mine["metric"], curve[-1][1], best, int(epoch), sum(last) / len(last))
        table.append(dict(zip(PAPER_COLUMNS, values, strict=True)))
    return table


def plot_curves(
    curves: dict[str, Curve],
    metric: str,
    beside_paper: bool,
    path: Path,
    style: Callable[[str, list[str]], dict[str, str]],
) -> None:
    """Score by epoch, a line per noise; on the right, if wanted, the paper's on its own scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = [(curves, metric, "ours")]
    if beside_paper:
        panels.append((paper_curves(), "FID, the paper's protocol", "the paper, CIFAR-10"))
    figure, all_axes = plt.subplots(1, len(panels), figsize=(6 * len(panels), 3.8), layout="constrained", squeeze=False)
    for axes, (lines, label, title) in zip(all_axes[0], panels, strict=True):
        for noise, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=noise, marker="o", markersize=3, **style(noise, list(lines)))
        axes.set(title=title, xlabel="epoch", ylabel=label, yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
