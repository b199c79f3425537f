"""Figures of points: their tails, and where they lie."""

from collections.abc import Mapping, Sequence
from typing import Any

from ngldm.pipeline.colours import INK, style
from ngldm.pipeline.report.figures.drawing import first_only, styled, subplots

REAL, TRAINING = "real", "training"  # labels beside those of the samplers
SHOWN = 5000  # points of a scatter
EDGES = (0.002, 0.998)  # quantiles of the real points at its edges


@styled
def tails(curves: Mapping[str, Sequence[Mapping[str, Any]]], samplers: Sequence[str]) -> Any:
    """How many points lie beyond a radius, both on logarithmic axes: a panel per sampler, a line per training.

    A power law is a straight line.

    Args:
        curves: label of the noise to the `tails` of each of its trainings, as the stage `evaluate` writes them.
        samplers: labels in the curves.
    """
    first = next(iter(curves.values()))[0]
    figure, [axes] = subplots(1, len(samplers), 1.0 + 4.2 * len(samplers), 3.6, sharey=True)
    for panel, sampler in zip(axes, samplers, strict=True):
        for noise, trainings in curves.items():
            for curve, label in zip(trainings, first_only(noise), strict=False):
                panel.plot(*_line(curve, sampler), label=label, **style(noise, list(curves)))
        for label, dash in ((REAL, "-"), (TRAINING, ":")):
            panel.plot(*_line(first, label), dash, label=f"{label} points", color=INK, linewidth=1.0)
        panel.set(xscale="log", yscale="log", xlabel="radius r", title=sampler)
    axes[0].set_ylabel("share of points beyond r")
    axes[-1].legend()
    return figure


def _line(curve: Any, label: str) -> tuple[list[float], list[float]]:
    pairs = [(r, share) for r, share in zip(curve[label], curve["shares"], strict=True) if r is not None]
    return [r for r, _ in pairs], [share for _, share in pairs]


@styled
def scatter(real: Any, generated: Any, title: str) -> Any:
    """The first two columns of real and of generated points (N, d) side by side, on the same axes.

    Points outside of the axes are not shown. A single column is shown against its ranks.
    """
    figure, [axes] = subplots(1, 2, 6.4, 3.3, sharex=True, sharey=True)
    planes = [_plane(points[:SHOWN]) for points in (real, generated)]
    for panel, (x, y), name in zip(axes, planes, ("real points", title), strict=True):
        look = {"color": INK, "markersize": 1.5, "alpha": 0.35, "markeredgewidth": 0}
        panel.plot(x, y, ".", rasterized=True, **look)  # thousands of vectors would be slow to show
        panel.set_title(name)
    for axis, values in zip(("x", "y"), planes[0], strict=True):
        low, high = sorted(values)[int(EDGES[0] * len(values))], sorted(values)[int(EDGES[1] * (len(values) - 1))]
        axes[0].set(**{f"{axis}lim": (low - 0.1 * (high - low), high + 0.1 * (high - low))})
    return figure


def _plane(points: Any) -> tuple[list[float], list[float]]:
    x = points[:, 0]
    y = points[:, 1] if points.shape[1] > 1 else x.argsort().argsort() / len(x)
    return x.tolist(), y.tolist()
