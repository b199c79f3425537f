"""Score by epoch for the report: ours and the paper's."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from ngldm.data.results import curve
from ngldm.io.files import read_csv
from ngldm.pipeline import workspace
from ngldm.pipeline.report.rows import ScoreRow, std_error

PAPER_CSV = Path(__file__).with_name("paper_fid_by_epoch.csv")  # the paper's full table: five noises, every 5th epoch
PAPER_COLUMNS = (
    "noise",
    "sampler",
    "ours",
    "spread",
    "metric",
    "paper: last",
    "paper: best",
    "paper: best epoch",
    "paper: mean of last 10",
)
PAPER_METRIC = "FID, the paper's protocol"


class CurvePoint(TypedDict):
    """The score of one noise after so many epochs; `metric` is the score's name.

    Of several trainings `value` is the mean, and `std_error` its standard error; of one it is None.
    """

    noise: str
    metric: str
    epoch: float
    value: float
    std_error: float | None


def read_curve(trainings: Mapping[str, Sequence[str]]) -> list[CurvePoint]:
    """The scores by epoch of all noises, means over their trainings; none if the trainings kept no models.

    Args:
        trainings: label of the noise to the labels of its trainings.
    """
    points = []
    for noise, labels in trainings.items():
        by_epoch: dict[float, list[curve.CurveRow]] = {}
        for label in labels:
            for row in curve.read_curve(workspace.CURVE / f"{label}.csv"):
                by_epoch.setdefault(row["epoch"], []).append(row)
        for epoch, rows in by_epoch.items():
            values = [row["value"] for row in rows]
            error = std_error(values) if len(values) > 1 else None
            point = CurvePoint(
                noise=noise, metric=rows[0]["metric"], epoch=epoch, value=statistics.fmean(values), std_error=error
            )
            points.append(point)
    return points


def paper_curve() -> list[CurvePoint]:
    """The paper's figures on CIFAR-10 by epoch, for its five noises."""
    table = read_csv(PAPER_CSV, "the installation of ngldm", dict)
    return [
        CurvePoint(noise=noise, metric=PAPER_METRIC, epoch=float(row["epoch"]), value=float(row[noise]), std_error=None)
        for noise in table[0]
        if noise != "epoch"
        for row in table
    ]


def paper_rows(rows: Sequence[ScoreRow]) -> list[dict[str, object]]:
    """For each of the paper's noises that we have: the score of our best sampler, and the paper's figures."""
    table = []
    published = paper_curve()
    for noise in dict.fromkeys(row["noise"] for row in published):
        points = [(row["epoch"], row["value"]) for row in published if row["noise"] == noise]
        mine = min((row for row in rows if row["noise"] == noise), key=lambda row: row["value"], default=None)
        if mine is None:
            continue
        epoch, best = min(points, key=lambda point: point[1])
        last = [value for _, value in points[-10:]]
        own = (mine["sampler"], mine["value"], mine["spread"], mine["metric"])
        values = (noise, *own, points[-1][1], best, int(epoch), sum(last) / len(last))
        table.append(dict(zip(PAPER_COLUMNS, values, strict=True)))
    return table
