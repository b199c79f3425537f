"""Score by epoch for the report: ours and the paper's."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ngldm.data.results import curve
from ngldm.io.files import read_csv
from ngldm.pipeline import workspace
from ngldm.pipeline.report.table import ScoreRow

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
    """The score of one noise after so many epochs; `metric` is the score's name."""

    noise: str
    metric: str
    epoch: float
    value: float


def read_curve(noises: Sequence[str]) -> list[CurvePoint]:
    """The scores by epoch of all noises; none if the trainings kept no models."""
    return [
        CurvePoint(noise=noise, metric=row["metric"], epoch=row["epoch"], value=row["value"])
        for noise in noises
        for row in curve.read_curve(workspace.CURVE / f"{noise}.csv")
    ]


def paper_curve() -> list[CurvePoint]:
    """The paper's figures on CIFAR-10 by epoch, for its five noises."""
    table = read_csv(PAPER_CSV, "the installation of ngldm", dict)
    return [
        CurvePoint(noise=noise, metric=PAPER_METRIC, epoch=float(row["epoch"]), value=float(row[noise]))
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
