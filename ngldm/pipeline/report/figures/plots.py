"""Figures of scores and losses.

Each function returns a matplotlib `Figure`; `drawing.save` writes it. Lines join only what differs by one thing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ngldm.data.results.history import HistoryRow
from ngldm.pipeline.colours import INK, style
from ngldm.pipeline.experiments.summary import StudySummary
from ngldm.pipeline.report.curve import CurvePoint
from ngldm.pipeline.report.figures.drawing import MARKERS, bars, first_only, styled, subplots
from ngldm.pipeline.report.rows import ScoreRow


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


@styled
def score_by_epoch(curve: Sequence[CurvePoint]) -> Any:
    """Score by epoch of training, a line per noise; of several trainings the mean with its standard error."""
    figure, [(axes,)] = subplots(1, 1, 6.5, 3.4)
    noises = list(dict.fromkeys(row["noise"] for row in curve))
    for index, noise in enumerate(noises):
        line = sorted((row for row in curve if row["noise"] == noise), key=lambda row: row["epoch"])
        points = [(row["epoch"], row["value"], row["std_error"]) for row in line]
        bars(axes, points, style(noise, noises), (index, len(noises)), label=noise, marker="o", joined=True)
    axes.set(xlabel="epoch")
    _score_axis(axes, curve)
    axes.legend()
    return figure


@styled
def score_by_calls(rows: Sequence[ScoreRow]) -> Any:
    """Score with its spread against network calls per image: a colour per noise, a marker per sampler.

    A line joins scores that differ in the number of steps alone.
    """
    figure, [(axes,)] = subplots(1, 1, 6.5, 3.6)
    noises = list(dict.fromkeys(row["noise"] for row in rows))
    samplers = list(dict.fromkeys(row["sampler"] for row in rows))
    for index, noise in enumerate(noises):
        look, place = style(noise, noises), (index, len(noises))
        alike: dict[tuple[str, ...], list[ScoreRow]] = {}
        for row in sorted((row for row in rows if row["noise"] == noise), key=_calls):
            _, _, options = row["settings"].partition(", ")  # what follows the method and its number of steps
            alike.setdefault((row["method"], options, row["start_noise"]), []).append(row)
            marker = MARKERS[samplers.index(row["sampler"]) % len(MARKERS)]
            bars(axes, [(row["network_calls"], row["value"], row["spread"])], look, place, marker=marker)
        for line in (line for line in alike.values() if len(line) > 1):
            bars(axes, [(row["network_calls"], row["value"], None) for row in line], look, place, joined=True)
        axes.plot([], [], label=noise, **look)
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
    scale, note = _scale([row["value"] for row in rows])
    axes.set(yscale=scale, ylabel=f"{rows[0]['metric']}{note}, lower is better")


def _scale(values: Sequence[float]) -> tuple[str, str]:
    """Logarithmic if the values differ by more than a factor of ten, and what the axis then says."""
    wide = min(values) > 0 and max(values) > 10 * min(values)
    return ("log", " (log scale)") if wide else ("linear", "")


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
    scale, note = _scale([row["mean"] for row in best.values()])
    left.set(xscale=scale, xlabel=f"Frechet distance, mean over seeds{note}", title="best sampler of each variant")
    left.margins(x=0.15)
    for variant, marker in zip(best, _markers(best.values()), strict=True):
        alike: dict[str, list[StudySummary]] = {}
        for row in sorted((r for r in summary if r["variant"] == variant and "dpmpp" in r["sampler"]), key=_calls):
            alike.setdefault(_without_steps(row), []).append(row)
        for sampler, line in alike.items():
            if len(line) > 1:
                look, label = style(line[0]["noise"], noises), f"{variant}, {sampler}"
                right.plot([r["network_calls"] for r in line], [r["mean"] for r in line], marker, label=label, **look)
    right.set(xlabel="network calls per image", title="DPM-Solver++(2M)")
    if right.lines:
        right.set_ylim(0, 1.05 * max(max(line.get_ydata()) for line in right.lines))
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


def _without_steps(row: StudySummary) -> str:
    """The sampler's label with n for its number of steps: samplers of one such name differ in that number alone."""
    return re.sub(rf"(?<![0-9]){row['network_calls']}(?![0-9])", "n", row["sampler"])


def _calls(row: StudySummary | ScoreRow) -> int:
    return row["network_calls"]
