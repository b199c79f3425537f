"""The table of scores: rows, which of them is lower beyond doubt, CSV and Markdown."""

import csv
import math
from collections.abc import Mapping
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
    "settings",
    "start_noise",
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
TOLD = ("method", "num_inference_steps")  # in the first words of a sampler's description
STANDARD_ERRORS = 2.0  # of the difference, by which a winner must be lower
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
                    "settings": describe(entry(about_samples, "sampler", dict)),
                    "start_noise": entry(about_samples, "start_noise", str),
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


def describe(sampler: Mapping[str, Any]) -> str:
    """A sampler's settings in a few words; its start noise is told apart, the method's name only in the first word."""
    others = {key: value for key, value in sampler.items() if key not in (*TOLD, "start_noise") and value is not None}
    words = [f"{key} {show(value)}" for key, value in others.items()]
    return ", ".join([f"{sampler['method']} {sampler['num_inference_steps']} steps", *words])


def winners(rows: list[Row]) -> dict[str, str | None]:
    """Sampler to the noise that scores lowest with it, or None where no difference is shown.

    A winner is lower than every other by at least two standard errors of the difference, sqrt(s1^2 + s2^2) of the two
    spreads. Scores of other metrics or other numbers of images are not compared; nor is one score with nothing.
    """
    found: dict[str, str | None] = {}
    for sampler in dict.fromkeys(row["sampler"] for row in rows):
        column = sorted((row for row in rows if row["sampler"] == sampler), key=lambda row: float(row["value"]))
        comparable = len({(row["metric"], row["num_samples"], row["extractor"]) for row in column}) == 1
        clear = comparable and len(column) > 1 and all(beats(column[0], other) for other in column[1:])
        found[sampler] = column[0]["noise"] if clear else None
    return found


def beats(one: Row, other: Row) -> bool:
    """Whether one score is lower by two standard errors; never where a spread is unknown."""
    error = math.hypot(one["spread"], other["spread"])
    return bool(other["value"] - one["value"] >= STANDARD_ERRORS * error and error > 0)


def verdicts(rows: list[Row]) -> dict[str, str]:
    """Sampler to what its column shows."""
    return {
        sampler: "no difference shown" if noise is None else f"{noise} is lower than all others"
        for sampler, noise in winners(rows).items()
    }


def conditions(rows: list[Row]) -> list[str]:
    """A line per sampler: what its column shows, and the settings and start of its scores."""
    lines = []
    for sampler, verdict in verdicts(rows).items():
        noises: dict[str, list[str]] = {}
        for row in (row for row in rows if row["sampler"] == sampler):
            noises.setdefault(f"{row['settings']}, start noise {row['start_noise']}", []).append(row["noise"])
        settings = "; ".join(
            text + (f" ({', '.join(names)})" if len(noises) > 1 else "") for text, names in noises.items()
        )
        lines.append(f"{sampler}: {verdict}. {settings}.")
    return lines


def write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def show(value: Any) -> str:
    """A cell's text: five significant digits are more than any of these figures has; "-" is not known."""
    if value is None or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown_table(rows: list[Row]) -> str:
    """All columns, a winner's score in bold; below them what each sampler's column shows, and its settings."""
    best = winners(rows)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for row in rows:
        cells = {column: show(row[column]) for column in COLUMNS}
        if row["noise"] == best[row["sampler"]]:
            cells["value"] = f"**{cells['value']}**"
        lines.append("| " + " | ".join(cells.values()) + " |")
    return "\n".join([*lines, "", *(f"- {line}" for line in conditions(rows))]) + "\n"


def few_scores(rows: list[Row]) -> Row:
    """What `dvc exp show` and `dvc metrics diff` compare: lower is better, but for the autoencoder's PSNR in dB."""
    scores: dict[str, Row] = {row["noise"]: {} for row in rows}
    for row in rows:
        scores[row["noise"]][row["sampler"]] = row["value"]
    floor = read_json(workspace.REFERENCE / "reference.json", "floor")["floor"]
    psnr = read_json(workspace.metrics("autoencoder"), "psnr_db")["psnr_db"]
    return {rows[0]["metric"]: scores, "floor": floor, "autoencoder_psnr_db": psnr}


def summary_rows(rows: list[Row]) -> list[list[str]]:
    """The cells of `SUMMARY_COLUMNS` for the terminal, a winner's value in bold (rich's markup)."""
    best, table = winners(rows), []
    for row in rows:
        cells = {column: show(row[column]) for column in SUMMARY_COLUMNS}
        cells["spread"] = f"{row['spread']:.2g}"
        if row["noise"] == best[row["sampler"]]:
            cells["value"] = f"[bold]{cells['value']}[/]"
        table.append(list(cells.values()))
    return table
