"""Figures of the noises themselves: their distributions, and Theorem 1."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ngldm.pipeline.colours import INK, style
from ngldm.pipeline.report.figures.drawing import bars, styled, subplots
from ngldm.theory.tables import Density, Histogram, TheoremRow


@styled
def noises(histograms: Mapping[str, Histogram], densities: Mapping[str, Density]) -> Any:
    """Histogram of the standardised draws of every noise, a panel each, with its own density and the Gaussian one.

    Args:
        histograms: of the draws of each noise, all with the same range of bins.
        densities: of the noises that have a density in closed form; the others have no such line.
    """
    columns = min(len(histograms), 5)
    rows = math.ceil(len(histograms) / columns)
    figure, axes = subplots(rows, columns, max(3.2, 1.9 * columns), 1.9 * rows, sharex=True, sharey=True)
    for panel, (noise, histogram) in zip(axes.flat, histograms.items(), strict=False):
        color = style(noise, list(histograms))["color"]
        panel.stairs(histogram.density, histogram.edges, fill=True, color=color, alpha=0.45)
        if noise in densities:
            panel.plot(densities[noise].x, densities[noise].density, color=color)
        low, high = histogram.edges[0], histogram.edges[-1]
        grid = [low + (high - low) * i / 400 for i in range(401)]
        gaussian = [math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) for x in grid]
        panel.plot(grid, gaussian, color=INK, linestyle="--", linewidth=0.9)
        panel.set(title=noise, ylim=(0, 1.1), yticks=[0, 0.5, 1])
    for panel in list(axes.flat)[len(histograms) :]:
        panel.set_visible(False)
    figure.supxlabel("standardised value; dashed: Gaussian", fontsize=9)
    return figure


@styled
def theorem(rows: Sequence[TheoremRow], shape: tuple[int, ...]) -> Any:
    """Theorem 1's ratio by T, a panel per forward process; the bars are two standard errors long on each side.

    Args:
        rows: as measured (`ngldm.theory.tables`).
        shape: (c, h, w) of one latent.
    """
    names = list(dict.fromkeys(row["noise"] for row in rows))
    titles = {"marginal": "one draw of D", "markov": "T draws of D (equation 1)"}
    titles = {forward: title for forward, title in titles.items() if any(row["forward"] == forward for row in rows)}
    figure, [axes] = subplots(1, len(titles), 4.75 * len(titles), 3.6, sharey=True)
    for axis, (forward, title) in zip(axes, titles.items(), strict=True):
        for index, name in enumerate(names):
            line = [row for row in rows if (row["noise"], row["forward"]) == (name, forward)]
            points = [(r["steps"], r["ratio"], 2.0 * r["std_error"]) for r in line]
            bars(axis, points, style(name, names), (index, len(names)), label=name, joined=True)
        axis.axhline(1.0, color=INK, linewidth=0.8)
        axis.set(xscale="log", xlabel="T", title=title)
    axes[0].set_ylabel("E||x_0 - x_T|| relative to Gaussian")
    axes[-1].legend()
    figure.suptitle(f"latents of shape {shape}; bars: two standard errors", fontsize=9)
    return figure
