"""The report's figures, good enough for a paper: vector graphics, with one colour and dash per noise.

Each function returns a matplotlib `Figure`. It needs no display. `save_svg` writes it so that text and axes are dark on
a light page and light on a dark page.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

from ngldm.data.results.history import HistoryRow
from ngldm.pipeline.colours import INK, style
from ngldm.pipeline.experiments.summary import StudySummary
from ngldm.pipeline.report.curve import CurvePoint
from ngldm.pipeline.report.rows import ScoreRow
from ngldm.theory.tables import Density, Histogram, TheoremRow

MARKERS = "osD^vP*X"
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.color": "#888888",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "auto",
    "svg.fonttype": "path",  # the same letters wherever it is opened
    "svg.hashsalt": "ngldm",  # the same bytes from the same data
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
DARK = f"<style>svg{{color:{INK}}}@media (prefers-color-scheme:dark){{svg{{color:#e8e8e8}}}}</style>"
Draw = TypeVar("Draw", bound=Callable[..., Any])


def styled(draw: Draw) -> Draw:
    """Decorator: draw under STYLE, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def subplots(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """A figure of that size in inches, and its array of axes (rows, columns)."""
    from matplotlib.figure import Figure  # without pyplot: no backend to choose, nothing to close

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


@styled
def save_svg(figure: Any, path: Path) -> None:
    """Write a figure whose text and axes take the page's colour: dark on a light page, light on a dark one."""
    from io import StringIO

    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue().replace(INK, "currentColor")
    head, opening, rest = svg.partition("<defs>")
    path.write_text(head + DARK + opening + rest, encoding="utf-8")


@styled
def save_png(figure: Any, path: Path, dpi: int = 130) -> None:
    """Write a figure on white, for pages that show no SVG."""
    figure.savefig(path, dpi=dpi, format="png", facecolor="white")


@styled
def training(histories: Mapping[str, Sequence[Sequence[HistoryRow]]]) -> Any:
    """Left the loss by step, a line per training; right the held-out loss of the EMA weights.

    Args:
        histories: label of the noise to the reports of each of its trainings.
    """
    figure, [(left, right)] = subplots(1, 2, 9.5, 3.4)
    for noise, trainings in histories.items():
        look = style(noise, list(histories))
        for reports, label in zip(trainings, first_only(noise), strict=False):
            left.plot([r["step"] for r in reports], [r["loss"] for r in reports], label=label, **look)
            held = [(r["step"], r["heldout_loss"]) for r in reports if r["heldout_loss"] is not None]
            right.plot([step for step, _ in held], [loss for _, loss in held], label=label, marker="o", **look)
    left.set(title="training loss", xlabel="step", ylabel="loss (log scale)", yscale="log")
    right.set(title="held-out loss of the EMA weights", xlabel="step")
    right.legend()
    return figure


def first_only(label: str) -> Iterator[str | None]:
    """The label of the first of several lines that look the same, and none for the others: so a legend has it once."""
    return chain([label], repeat(None))


@styled
def score_by_epoch(curve: Sequence[CurvePoint]) -> Any:
    """Score by epoch of training, a line per noise; of several trainings the mean with its standard error."""
    figure, [(axes,)] = subplots(1, 1, 6.5, 3.4)
    noises = list(dict.fromkeys(row["noise"] for row in curve))
    for noise in noises:
        line = sorted((row for row in curve if row["noise"] == noise), key=lambda row: row["epoch"])
        look = style(noise, noises)
        axes.plot([r["epoch"] for r in line], [r["value"] for r in line], marker="o", label=noise, **look)
        for row in line:
            if row["std_error"] is not None:
                axes.errorbar(row["epoch"], row["value"], row["std_error"], capsize=2, color=look["color"])
    axes.set(xlabel="epoch")
    _score_axis(axes, curve)
    axes.legend()
    return figure


@styled
def score_by_calls(rows: Sequence[ScoreRow]) -> Any:
    """Score with its spread against network calls per image, a line per noise, a marker per sampler."""
    figure, [(axes,)] = subplots(1, 1, 6.5, 3.6)
    noises = list(dict.fromkeys(row["noise"] for row in rows))
    samplers = list(dict.fromkeys(row["sampler"] for row in rows))
    for noise in noises:
        line = sorted((row for row in rows if row["noise"] == noise), key=_calls)
        look = style(noise, noises)
        axes.plot([r["network_calls"] for r in line], [r["value"] for r in line], label=noise, **look)
        for row in line:
            marker = MARKERS[samplers.index(row["sampler"]) % len(MARKERS)]
            axes.errorbar(row["network_calls"], row["value"], row["spread"], fmt=marker, capsize=2, color=look["color"])
    for index, sampler in enumerate(samplers):
        axes.plot([], [], MARKERS[index % len(MARKERS)], color=INK, label=sampler)
    axes.set(xlabel="network calls per image (log scale)", xscale="log")
    _score_axis(axes, rows)
    calls = sorted({row["network_calls"] for row in rows})
    axes.set_xticks(calls, [str(count) for count in calls])
    axes.set_xticks([], minor=True)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _score_axis(axes: Any, rows: Sequence[CurvePoint] | Sequence[ScoreRow]) -> None:
    """Label the y axis with the metric. It is logarithmic if the values differ by more than a factor of ten."""
    values = [row["value"] for row in rows]
    wide = min(values) > 0 and max(values) > 10 * min(values)
    scale, note = ("log", " (log scale)") if wide else ("linear", "")
    axes.set(yscale=scale, ylabel=f"{rows[0]['metric']}{note}, lower is better")


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
        for name in names:
            line = [row for row in rows if (row["noise"], row["forward"]) == (name, forward)]
            steps, ratios = [r["steps"] for r in line], [r["ratio"] for r in line]
            bars = [2.0 * r["std_error"] for r in line]
            axis.errorbar(steps, ratios, yerr=bars, capsize=2, label=name, **style(name, names))
        axis.axhline(1.0, color=INK, linewidth=0.8)
        axis.set(xscale="log", xlabel="T", title=title)
    axes[0].set_ylabel("E||x_0 - x_T|| relative to Gaussian")
    axes[-1].legend()
    figure.suptitle(f"latents of shape {shape}; bars: two standard errors", fontsize=9)
    return figure


@styled
def overview(pictures: dict[tuple[str, str], Any]) -> Any:
    """The first images: a row of the figure per noise, a column per sampler.

    Args:
        pictures: (noise, sampler) to a uint8 grid (H, W, C).
    """
    noises = list(dict.fromkeys(noise for noise, _ in pictures))
    samplers = list(dict.fromkeys(sampler for _, sampler in pictures))
    figure, axes = subplots(len(noises), len(samplers), 5.2 * len(samplers), 1.4 * len(noises) + 0.3)
    for (noise, sampler), picture in pictures.items():
        cell = axes[noises.index(noise)][samplers.index(sampler)]
        cell.imshow(picture, cmap="gray" if picture.shape[-1] == 1 else None, vmin=0, vmax=255)
        cell.set(xticks=[], yticks=[])
        cell.grid(False)
        cell.spines[:].set_visible(False)
        if noise == noises[0]:
            cell.set_title(sampler)
        if sampler == samplers[0]:
            cell.set_ylabel(noise.replace("_", "\n"))
    return figure


@styled
def study(summary: Sequence[StudySummary]) -> Any:
    """Left: the best sampler of each variant, with standard error. Right: DPM-Solver++'s mean score by calls."""
    noises = list(dict.fromkeys(row["noise"] for row in summary))
    best: dict[str, StudySummary] = {}
    for row in summary:  # best first within a variant
        best.setdefault(row["variant"], row)
    figure, [(left, right)] = subplots(1, 2, 11, max(3.8, 0.3 * len(best) + 0.8))
    for i, row in enumerate(best.values()):
        color = style(row["noise"], noises)["color"]
        left.errorbar(row["mean"], -i, xerr=row["std_error"], fmt="o", capsize=3, color=color)
        left.annotate(row["sampler"], (row["mean"], -i), textcoords="offset points", xytext=(6, 4), fontsize=7)
    left.set_yticks([-i for i in range(len(best))], list(best))
    left.set(xscale="log", xlabel="Frechet distance, mean over seeds (log scale)", title="best sampler of each variant")
    left.margins(x=0.15)
    for variant, marker in zip(best, _markers(best.values()), strict=True):
        line = sorted((r for r in summary if r["variant"] == variant and "dpmpp" in r["sampler"]), key=_calls)
        if len(line) > 1:
            look = style(line[0]["noise"], noises)
            right.plot([r["network_calls"] for r in line], [r["mean"] for r in line], marker, label=variant, **look)
    right.set(xlabel="network calls per image", title="DPM-Solver++(2M)", ylim=(0, None))
    if right.lines:
        right.legend(fontsize=7)
    return figure


def _markers(rows: Iterable[StudySummary]) -> list[str]:
    """A marker for each variant. Variants of one noise have the same colour and dash, so their markers differ."""
    seen: dict[str, int] = {}
    markers = []
    for row in rows:
        index = seen[row["noise"]] = seen.get(row["noise"], -1) + 1
        markers.append(MARKERS[index % len(MARKERS)])
    return markers


def _calls(row: StudySummary | ScoreRow) -> int:
    return row["network_calls"]
