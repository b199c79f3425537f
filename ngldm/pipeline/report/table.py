"""The table of scores: rows, best values, CSV and Markdown."""

import csv
import math
from pathlib import Path
from typing import Any

from ngldm.io.files import entry, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params

COLUMNS = (
    "noise",
    "sampler",
    "method",
    "network_calls",
    "metric",
    "value",
    "spread",
    "kid",
    "precision",
    "recall",
    "num_samples",
    "extractor",
    "train_seconds",
    "sample_seconds",
)
Row = dict[str, Any]


def collect_rows(params: Params) -> list[Row]:
    """One row per noise and sampler, from the metrics files.

    Raises:
        InputError: a stage that should have written one has not run.
    """
    about = read_json(workspace.REFERENCE / "reference.json")
    rows = []
    for noise in params.noises:
        trained = read_json(workspace.train_metrics(noise))
        for sampler in params.samplers:
            scores = read_json(workspace.evaluate_metrics(noise, sampler))
            metric = next(key for key in scores if f"{key}_std" in scores and key != "kid")
            about_samples = read_json(workspace.samples(noise, sampler) / "samples.json", "sampler", "network_calls")
            rows.append(
                {
                    "noise": noise,
                    "sampler": sampler,
                    "method": entry(about_samples, "sampler", dict)["method"],
                    "network_calls": about_samples["network_calls"],
                    "metric": metric,
                    "value": scores[metric],
                    "spread": scores[f"{metric}_std"],
                    "kid": scores["kid"],
                    "precision": scores["precision"],
                    "recall": scores["recall"],
                    "num_samples": scores["num_samples"],
                    "extractor": about["extractor"],
                    "train_seconds": trained["train_seconds"],
                    "sample_seconds": read_json(workspace.sample_metrics(noise, sampler))["sample_seconds"],
                }
            )
    return rows


def best_values(rows: list[Row]) -> dict[str, float]:
    """Sampler to the lowest score that any noise has with it."""
    best: dict[str, float] = {}
    for row in rows:
        best[row["sampler"]] = min(row["value"], best.get(row["sampler"], math.inf))
    return best


def write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def show(value: Any) -> str:
    """A cell's text: five significant digits are more than any of these figures has."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown_table(rows: list[Row]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(show(row[column]) for column in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"
