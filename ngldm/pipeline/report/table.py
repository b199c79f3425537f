"""The table of scores: rows, best values, CSV and Markdown."""

import csv
import math
from pathlib import Path
from typing import Any

from ngldm.io.errors import InputError
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
SUMMARY_COLUMNS = ("noise", "sampler", "network_calls", "value", "spread", "kid", "precision", "recall")
Row = dict[str, Any]


def collect_rows(params: Params) -> list[Row]:
    """One row per noise and sampler, from the metrics files.

    Raises:
        InputError: a stage that should have written one has not run.
    """
    about = read_json(workspace.REFERENCE / "reference.json")
    rows = []
    for noise in params.noises:
        trained = read_json(workspace.metrics("train", noise))
        evaluated = entry(read_json(workspace.metrics("evaluate", noise), "samplers"), "samplers", dict)
        for sampler in params.samplers:
            scores = _of_sampler(evaluated, noise, sampler)
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
                    "sample_seconds": read_json(workspace.metrics("sample", noise, sampler))["sample_seconds"],
                }
            )
    return rows


def _of_sampler(evaluated: dict[str, Row], noise: str, sampler: str) -> Row:
    if sampler not in evaluated:
        file = workspace.metrics("evaluate", noise)
        raise InputError(f"{file}: has no sampler {sampler!r}; run the stage `evaluate` again")
    return evaluated[sampler]


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


def few_scores(rows: list[Row]) -> Row:
    """What `dvc exp show` and `dvc metrics diff` compare: lower is better, but for the autoencoder's PSNR in dB."""
    scores: dict[str, Row] = {row["noise"]: {} for row in rows}
    for row in rows:
        scores[row["noise"]][row["sampler"]] = row["value"]
    floor = read_json(workspace.REFERENCE / "reference.json", "floor")["floor"]
    psnr = read_json(workspace.metrics("autoencoder"), "psnr_db")["psnr_db"]
    return {rows[0]["metric"]: scores, "floor": floor, "autoencoder_psnr_db": psnr}


def summary_rows(rows: list[Row]) -> list[list[str]]:
    """The cells of `SUMMARY_COLUMNS` for the terminal, the best value of each sampler in bold (rich's markup)."""
    best, table = best_values(rows), []
    for row in rows:
        cells = {column: show(row[column]) for column in SUMMARY_COLUMNS}
        cells["spread"] = f"{row['spread']:.2g}"
        if row["value"] == best[row["sampler"]]:
            cells["value"] = f"[bold]{cells['value']}[/]"
        table.append(list(cells.values()))
    return table
