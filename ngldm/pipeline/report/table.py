"""The table of scores: its rows, the best values, and tables as Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from ngldm.io.errors import InputError
from ngldm.io.files import entry, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params

SUMMARY_COLUMNS = ("noise", "sampler", "network_calls", "value", "spread", "kid", "precision", "recall")


class ScoreRow(TypedDict):
    """The scores of one noise and sampler, a row of reports/table.csv.

    Attributes:
        noise, sampler: their labels.
        method: the algorithm of the sampler; for a sampler `auto` the one that was chosen.
        network_calls: per image.
        metric: name of the Frechet distance.
        value: that distance; lower is better.
        spread: its standard deviation over bootstrap draws of the generated images.
        kid: kernel distance; lower is better.
        precision, recall: in [0, 1]; higher is better.
        num_samples: generated images that were scored.
        extractor: name of the network that gives the features.
        train_seconds, sample_seconds: wall-clock time.
    """

    noise: str
    sampler: str
    method: str
    network_calls: int
    metric: str
    value: float
    spread: float
    kid: float
    precision: float
    recall: float
    num_samples: int
    extractor: str
    train_seconds: float
    sample_seconds: float


COLUMNS = tuple(ScoreRow.__annotations__)


def collect_rows(params: Params) -> list[ScoreRow]:
    """One row per noise and sampler, from the files of the stages.

    Raises:
        InputError: a file is missing, or lacks a figure.
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
            sampled = read_json(workspace.metrics("sample", noise, sampler))
            rows.append(
                ScoreRow(
                    noise=noise,
                    sampler=sampler,
                    method=entry(about_samples, "sampler", dict)["method"],
                    network_calls=entry(about_samples, "network_calls", int),
                    metric=metric,
                    value=entry(scores, metric, float),
                    spread=entry(scores, f"{metric}_std", float),
                    kid=entry(scores, "kid", float),
                    precision=entry(scores, "precision", float),
                    recall=entry(scores, "recall", float),
                    num_samples=entry(scores, "num_samples", int),
                    extractor=entry(about, "extractor", str),
                    train_seconds=entry(trained, "train_seconds", float),
                    sample_seconds=entry(sampled, "sample_seconds", float),
                )
            )
    return rows


def _of_sampler(evaluated: Mapping[str, dict[str, object]], noise: str, sampler: str) -> dict[str, object]:
    if sampler not in evaluated:
        file = workspace.metrics("evaluate", noise)
        raise InputError(f"{file}: has no sampler {sampler!r}; run the stage `evaluate` again")
    return evaluated[sampler]


def best_values(rows: Sequence[ScoreRow]) -> dict[str, float]:
    """For each sampler the lowest distance of all noises."""
    best: dict[str, float] = {}
    for row in rows:
        best[row["sampler"]] = min(row["value"], best.get(row["sampler"], math.inf))
    return best


def show(value: object) -> str:
    """The text of a cell. Floats have four significant digits, which is more than any of these figures is known to."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """The columns of the rows as a table in Markdown."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(show(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def few_scores(rows: Sequence[ScoreRow]) -> dict[str, object]:
    """The few figures that `dvc exp show` and `dvc metrics diff` compare.

    Lower is better, except for the autoencoder's PSNR in dB, where higher is better.
    """
    scores: dict[str, dict[str, float]] = {row["noise"]: {} for row in rows}
    for row in rows:
        scores[row["noise"]][row["sampler"]] = row["value"]
    floor = read_json(workspace.REFERENCE / "reference.json", "floor")["floor"]
    psnr = read_json(workspace.metrics("autoencoder"), "psnr_db")["psnr_db"]
    return {rows[0]["metric"]: scores, "floor": floor, "autoencoder_psnr_db": psnr}


def summary_rows(rows: Sequence[ScoreRow]) -> list[list[str]]:
    """The cells of `SUMMARY_COLUMNS` for the terminal. The best value of each sampler is bold (rich's markup)."""
    best, table = best_values(rows), []
    for row in rows:
        content: Mapping[str, object] = row
        cells = {column: show(content[column]) for column in SUMMARY_COLUMNS}
        cells["spread"] = f"{row['spread']:.2g}"
        if row["value"] == best[row["sampler"]]:
            cells["value"] = f"[bold]{cells['value']}[/]"
        table.append(list(cells.values()))
    return table
