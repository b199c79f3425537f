"""The study's part of the report: means over seeds and their spread."""

import csv
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ngldm.io.files import require
from ngldm.pipeline.report.table import Row

COLUMNS = ("variant", "sampler", "network_calls", "mean", "std", "std_error", "ratio", "outliers", "seeds")
BASELINE = "gaussian"


def read_scores(path: Path) -> list[Row]:
    """The rows of study/scores.csv, numbers as numbers."""
    with require(path, "the stage `study`").open(newline="") as file:
        rows: list[Row] = [dict(row) for row in csv.DictReader(file)]
    for row in rows:
        row |= {key: int(row[key]) for key in ("train_seed", "sample_seed", "network_calls")}
        row |= {key: float(row[key]) for key in ("value", "outliers")}
    return rows


def summarise(rows: list[Row]) -> list[Row]:
    """Mean over seeds of every variant and sampler, best first within a variant.

    `std` is over all scores; `std_error` is that of the mean from the spread between trainings, which are independent,
    unlike sampling seeds of one training. `ratio` is to the smallest mean of any Gaussian variant.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["variant"], row["sampler"]), []).append(row)
    summary = []
    for (variant, sampler), group in groups.items():
        values = [row["value"] for row in group]
        trainings: dict[int, list[float]] = {}
        for row in group:
            trainings.setdefault(row["train_seed"], []).append(row["value"])
        means = [statistics.fmean(v) for v in trainings.values()]
        summary.append(
            {
                "variant": variant,
                "noise": group[0]["noise"],
                "sampler": sampler,
                "network_calls": group[0]["network_calls"],
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else math.nan,
                "std_error": statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan,
                "outliers": statistics.fmean(row["outliers"] for row in group),
                "seeds": f"{len(trainings)}x{len(group) // len(trainings)}",
            }
        )
    baseline = min((row["mean"] for row in summary if row["noise"] == BASELINE), default=math.nan)
    for row in summary:
        row["ratio"] = row["mean"] / baseline
    order = {variant: i for i, variant in enumerate(dict.fromkeys(row["variant"] for row in rows))}
    return sorted(summary, key=lambda row: (order[row["variant"]], row["mean"]))


def study_table(summary: list[Row], show: Callable[[Any], str]) -> str:
    """Markdown; `show` writes a cell."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(show(row[column]) for column in COLUMNS) + " |" for row in summary]
    return "\n".join(lines) + "\n"
