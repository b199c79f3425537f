"""The second table, of the further scores, and the figures of points."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ngldm.io.files import entry, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.colours import INK, style
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.experiments.summary import FurtherSummary
from ngldm.pipeline.report.figures import first_only, styled, subplots
from ngldm.pipeline.report.rows import ScoreRow, std_error

NAMED = ("noise", "sampler")
Row = Mapping[str, object]
REAL, TRAINING = "real", "training"  # labels beside those of the samplers
SHOWN = 5000  # points of a scatter
EDGES = (0.002, 0.998)  # quantiles of the real points at its edges


def further_rows(params: Params) -> list[Row]:
    """A row of further scores per training and sampler, and, of points, one of the training points, which comes first.

    All rows have the same keys: the columns of the table. What a row has not is None. With several seeds each row has
    its own.
    """
    rows: list[Row] = []
    for label in params.training_labels:
        noise, seed = params.training(label)
        content = read_json(workspace.metrics("evaluate", label), "samplers")
        seeds = {"seeds": str(seed)} if len(params.seeds) > 1 else {}
        known = entry(content, "samplers", dict)
        if not rows and "further_floor" in content:
            rows.append({"noise": "training points", "sampler": "-", **entry(content, "further_floor", dict)})
        rows += [
            {
                "noise": noise,
                "sampler": sampler,
                **seeds,
                **{key: known[sampler][key] for key in further_keys(known[sampler])},
            }
            for sampler in params.samplers
        ]
    columns = dict.fromkeys([*NAMED, *(key for row in rows for key in row)])
    return [{**columns, **row} for row in rows]


def further_means(rows: Sequence[Row]) -> list[Row]:
    """The rows of `further_rows` by noise and sampler: of several trainings the texts mean ± standard error."""
    groups: dict[tuple[object, object], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["noise"], row["sampler"]), []).append(row)
    return [
        {key: _mean_cell([row[key] for row in group]) for key in group[0]} if len(group) > 1 else group[0]
        for group in groups.values()
    ]


def _mean_cell(values: Sequence[object]) -> object:
    """Labels are the same in all rows of a group, or the seeds. A figure that not all trainings have is not known."""
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values):
        return f"{statistics.fmean(numbers):.4g} ± {std_error(numbers):.2g}"
    return None if None in values else ", ".join(dict.fromkeys(map(str, values)))


def further_keys(scores: Mapping[str, object]) -> list[str]:
    """The names of the further scores among those of one sampler: all that have no column in the first table."""
    metric = {key for key in scores if f"{key}_std" in scores}
    first = {*ScoreRow.__annotations__, *metric, *(f"{key}_std" for key in metric), "kid", "kid_std"}
    return [key for key in scores if key not in first]


def further_study_rows(summary: Sequence[FurtherSummary]) -> list[Row]:
    """A row for each variant and sampler, a column for each score: mean ± standard error. What it has not is None."""
    columns = ["variant", "sampler", *(row["score"] for row in summary)]
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for row in summary:
        key: dict[str, object] = {"variant": row["variant"], "sampler": row["sampler"]}
        cells = rows.setdefault((row["variant"], row["sampler"]), {**dict.fromkeys(columns), **key})
        error = "" if math.isnan(row["std_error"]) else f" ± {row['std_error']:.2g}"
        cells[row["score"]] = f"{row['mean']:.4g}{error}"
    return [*rows.values()]


def tail_errors(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, object]]]:
    """The error of the tails by noise and sampler, for `dvc exp show`; nothing if the rows have none.

    Of several trainings it is the mean.
    """
    values: dict[tuple[str, str], list[object]] = {}
    for row in rows:
        if "msle" in row and row["sampler"] != "-":
            values.setdefault((str(row["noise"]), str(row["sampler"])), []).append(row["msle"])
    found: dict[str, dict[str, object]] = {}
    for (noise, sampler), trainings in values.items():
        known = [float(value) for value in trainings if isinstance(value, int | float)]
        mean = statistics.fmean(known) if len(known) == len(trainings) else None
        found.setdefault(noise, {})[sampler] = mean
    return {"msle": found} if found else {}


@styled
def tails(params: Params) -> Any:
    """How many points lie beyond a radius, both on logarithmic axes: a panel per sampler, a line per training.

    A power law is a straight line. Returns None if there are no points.
    """
    curves = {label: read_json(workspace.metrics("evaluate", label)).get("tails") for label in params.training_labels}
    first = next(iter(curves.values()))
    if not isinstance(first, dict):
        return None
    figure, [axes] = subplots(1, len(params.samplers), 1.0 + 4.2 * len(params.samplers), 3.6, sharey=True)
    for panel, sampler in zip(axes, params.samplers, strict=True):
        for noise in params.noises:
            for training, label in zip(params.labels_of(noise), first_only(noise), strict=False):
                panel.plot(*_line(curves[training], sampler), label=label, **style(noise, params.noises))
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
        panel.plot(x, y, ".", color=INK, markersize=1.5, alpha=0.35, markeredgewidth=0)
        panel.set_title(name)
    for axis, values in zip(("x", "y"), planes[0], strict=True):
        low, high = sorted(values)[int(EDGES[0] * len(values))], sorted(values)[int(EDGES[1] * (len(values) - 1))]
        axes[0].set(**{f"{axis}lim": (low - 0.1 * (high - low), high + 0.1 * (high - low))})
    return figure


def _plane(points: Any) -> tuple[list[float], list[float]]:
    x = points[:, 0]
    y = points[:, 1] if points.shape[1] > 1 else x.argsort().argsort() / len(x)
    return x.tolist(), y.tolist()
