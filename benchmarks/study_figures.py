"""Pictures of the studies' tables: means over trainings with 2 standard errors.

python -m benchmarks.study_figures tails|imbalance|fewsteps|ancestral|tuned STUDY FILE.png
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.verdicts import DETERMINISTIC, RARE, SOFT_LOG, TUNED, Estimate, Study

GREY, BLUE, ORANGE, GREEN = "#7a7a7a", "#2b6cb0", "#c05621", "#2f855a"


def bar(axes: Axes, y: int, found: Estimate, colour: str) -> None:
    axes.errorbar(found.mean, y, xerr=2 * found.error, fmt="o", color=colour, ms=4, lw=1, capsize=2)


def tails(study: Study) -> Figure:
    """A panel per data set: msle of each arm and sampler, the best at the top."""
    figure, panels = plt.subplots(2, 2, figsize=(11, 9.5), layout="constrained")
    for axes, data in zip(panels.flat, ("d2_shared", "d2_independent", "d16_shared", "d16_independent"), strict=True):
        pairs = [(v, s) for v, s in study.pairs if v.startswith(f"{data}_")]
        pairs.sort(key=lambda pair: -study.of(pair[0], pair[1], "msle").mean)
        names = []
        for y, (variant, sampler) in enumerate(pairs):
            arm = variant.removeprefix(f"{data}_")
            colour = GREY if arm == "train_set" else ORANGE if arm in TUNED else GREEN if arm in SOFT_LOG else BLUE
            bar(axes, y, study.of(variant, sampler, "msle"), colour)
            names.append(arm if sampler in ("heun_20", "-") else f"{arm}, {sampler}")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_xscale("log")
        axes.set_xlabel("msle (0 is right)")
        axes.set_title(data, fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle("orange: Gaussian, green: Gaussian with soft-log, blue: other noises, grey: the training points")
    return figure


def imbalance(study: Study) -> Figure:
    """Coverage of the rare classes against what is memorised of them."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for variant, sampler in study.pairs:
        coverage, memorised = (
            study.of(variant, sampler, [f"{score}_class_{label}" for label in RARE])
            for score in ("coverage", "memorised")
        )
        colour = ORANGE if variant.startswith("gaussian") else BLUE
        axes.errorbar(
            memorised.mean,
            coverage.mean,
            2 * coverage.error,
            2 * memorised.error,
            fmt="o",
            color=colour,
            lw=1,
            capsize=2,
        )
        axes.annotate(variant, (memorised.mean, coverage.mean), xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.set_xlabel("memorised of the rare classes (lower is better)")
    axes.set_ylabel("coverage of the rare classes")
    axes.grid(alpha=0.3)
    return figure


def _lines(
    axes: Axes,
    steps: Sequence[int],
    found: Sequence[Estimate],
    label: str,
    shift: float = 0.0,
    colour: str | None = None,
) -> None:
    axes.errorbar(
        [step * (1 + shift) for step in steps],
        [f.mean for f in found],
        [2 * f.error for f in found],
        marker="o",
        ms=3,
        lw=1,
        capsize=2,
        label=label,
        color=colour,
    )


CALLS = (5, 10, 20)


def fewsteps(study: Study) -> Figure:
    """A panel per schedule and sampler: the Frechet distance by the number of network calls. White noise is grey."""
    figure, panels = plt.subplots(2, 2, figsize=(11, 8), sharey=True, layout="constrained")
    colours = sorted({v.rpartition("_")[0] for v, _ in study.pairs if not v.startswith("white")})
    places = [(schedule, method) for schedule in ("cosine", "flow") for method in ("ddim", "dpmpp")]
    for axes, (schedule, method) in zip(panels.flat, places, strict=True):
        for arm in sorted({v for v, _ in study.pairs if v.endswith(f"_{schedule}")}, reverse=True):
            label = arm.removesuffix(f"_{schedule}")
            samplers = {s for v, s in study.pairs if v == arm and s.startswith(f"{method}_")}
            found = [study.of(arm, s, "fd") for s in sorted(samplers, key=lambda sampler: int(sampler.split("_")[1]))]
            if found and label in colours:
                place = colours.index(label)
                _lines(axes, CALLS, found, label, 0.012 * (place - len(colours) / 2), f"C{place}")
            elif found:
                style = "-" if label == "white" else ":"
                known = {"white": "white", "white_k115": "white, k times as strong"}.get(label)
                axes.plot(CALLS, [f.mean for f in found], color=GREY, lw=1, ls=style, label=known)
        axes.set_title(f"{schedule}, {method}", fontsize=10)
        axes.set(xscale="log", yscale="log", xlabel="network calls")
        axes.set_xticks(CALLS, [str(calls) for calls in CALLS], minor=False)
        axes.set_yticks([5, 10, 20, 40], ["5", "10", "20", "40"], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel("Frechet distance")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=8)
    return figure


def ancestral(study: Study) -> Figure:
    """A panel per noise: samplers by steps, and the best deterministic one as a line."""
    noises = sorted({variant for variant, _ in study.pairs})
    figure, panels = plt.subplots(
        2, (len(noises) + 1) // 2, figsize=(12, 6), sharey=True, layout="constrained", squeeze=False
    )
    for axes in panels.flat[len(noises) :]:
        axes.axis("off")
    for axes, noise in zip(panels.flat, noises, strict=False):
        for kind in ("ancestral", "constant", "stein", "stein_half"):
            found = [study.of(noise, f"{kind}_{count}", "fd") for count in (25, 50, 100)]
            _lines(axes, (25, 50, 100), found, kind.replace("_half", ", eta 0.5"))
        best = min(study.of(noise, sampler, "fd").mean for sampler in DETERMINISTIC)
        axes.axhline(best, color=GREY, lw=1, ls="--", label="best deterministic")
        axes.set_title(noise, fontsize=10)
        axes.set(xscale="log", yscale="log", xlabel="steps")
        axes.set_xticks([25, 50, 100], ["25", "50", "100"], minor=False)
        axes.set_yticks([0.8, 1, 1.5, 2], ["0.8", "1", "1.5", "2"], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel("Frechet distance")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=5)
    return figure


def tuned(study: Study) -> Figure:
    """Each noise with its own settings, in the order of the study."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for y, (variant, sampler) in enumerate(reversed(study.pairs)):
        bar(axes, y, study.of(variant, sampler, "fd"), ORANGE if variant.startswith("gaussian") else BLUE)
    axes.set_yticks(range(len(study.pairs)), [variant for variant, _ in reversed(study.pairs)])
    axes.set_xlabel("Frechet distance (lower is better)")
    axes.grid(axis="x", alpha=0.3)
    return figure


FIGURES: dict[str, Callable[[Study], Figure]] = {
    "tails": tails,
    "imbalance": imbalance,
    "fewsteps": fewsteps,
    "ancestral": ancestral,
    "tuned": tuned,
}


def main(
    recipe: Annotated[str, typer.Argument(help=f"One of {', '.join(FIGURES)}.")],
    folder: Annotated[Path, typer.Argument(help="The folder that the stage `study` wrote.")],
    file: Annotated[Path, typer.Argument(help="The picture.")],
) -> None:
    """Draw a study."""
    if recipe not in FIGURES:
        raise typer.BadParameter(f"{recipe!r} is not one of {', '.join(FIGURES)}")
    figure = FIGURES[recipe](Study(folder))
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
