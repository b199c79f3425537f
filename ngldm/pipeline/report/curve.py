"""Score by epoch, ours and the paper's, for the report."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ngldm.io.files import require
from ngldm.pipeline import workspace
from ngldm.pipeline.report.table import Row

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


def read_curve(noises: list[str]) -> list[Row]:
    """Rows with noise, epoch, metric and value; none where the trainings kept no models."""
    rows = []
    for noise in noises:
        with require(workspace.CURVE / f"{noise}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                numbers = {"epoch": float(row["epoch"]), "value": float(row["value"])}
                rows.append({"noise": noise, "metric": row["metric"], **numbers})
    return rows


def paper_curve() -> list[Row]:
    """The paper's figures on CIFAR-10 by epoch, for its five noises: rows as of `read_curve`."""
    with PAPER_CSV.open(newline="") as file:
        table = list(csv.DictReader(file))
    return [
        {
            "noise": noise,
            "metric": PAPER_METRIC,
            "epoch": float(row["epoch"]),
            "value": float(row[noise]),
        }
        for noise in table[0]
        if noise != "epoch"
        for row in table
    ]


def paper_rows(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Our best sampler's score of each noise beside the paper's figures.

    Args:
        rows: of the report's table.
    """
    table = []
    published = paper_curve()
    for noise in dict.fromkeys(row["noise"] for row in published):
        curve = [(row["epoch"], row["value"]) for row in published if row["noise"] == noise]
        mine = min((row for row in rows if row["noise"] == noise), key=lambda row: row["value"], default=None)
        if mine is None:
            continue
        epoch, best = min(curve, key=lambda point: point[1])
        last = [value for _, value in curve[-10:]]
        own = (mine["sampler"], mine["value"], mine["spread"], mine["metric"])
        values = (noise, *own, curve[-1][1], best, int(epoch), sum(last) / len(last))
        table.append(dict(zip(PAPER_COLUMNS, values, strict=True)))
    return table
