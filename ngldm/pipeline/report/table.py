"""The table of scores: its rows, which of them is lower beyond doubt, and tables as Markdown and for the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from ngldm.io.errors import InputError
from ngldm.io.files import entry, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params

TOLD = ("method", "num_inference_steps")  # are the first words of the description of a sampler
STANDARD_ERRORS = 2.0  # of the difference: a winner is lower by at least so many
SUMMARY_COLUMNS = ("noise", "sampler", "network_calls", "value", "spread", "kid", "precision", "recall")


class ScoreRow(TypedDict):
    """The scores of one noise and sampler, a row of reports/table.csv.

    Attributes:
        noise, sampler: their labels.
        method: the algorithm of the sampler; for a sampler `auto` the one that was chosen.
        settings: all settings of the sampler in words, except its start noise (`describe`).
        start_noise: kind of noise that sampling started from.
        network_calls: per image.
        metric: name of the Frechet distance.
        value: that distance; lower is better.
        spread: its standard deviation over sets of as many generated images (`ngldm.scoring.spread`).
        kid: kernel distance; lower is better.
        precision, recall: in [0, 1]; higher is better.
        num_samples: generated images that were scored.
        extractor: name of the network that gives the features.
        train_seconds, sample_seconds: wall-clock time.
    """

    noise: str
    sampler: str
    method: str
    settings: str
    start_noise: str
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
            options = entry(about_samples, "sampler", dict)
            sampled = read_json(workspace.metrics("sample", noise, sampler))
            rows.append(
                ScoreRow(
                    noise=noise,
                    sampler=sampler,
                    method=options["method"],
                    settings=describe(options),
                    start_noise=entry(about_samples, "start_noise", str),
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


def describe(sampler: Mapping[str, object]) -> str:
    """The settings of a sampler in a few words, without its start noise, which has a column of its own."""
    others = {key: value for key, value in sampler.items() if key not in (*TOLD, "start_noise") and value is not None}
    words = [f"{key} {show(value)}" for key, value in others.items()]
    return ", ".join([f"{sampler['method']} {sampler['num_inference_steps']} steps", *words])


def winners(rows: Sequence[ScoreRow]) -> dict[str, str | None]:
    """For each sampler the noise with the lowest distance, or None if no noise is clearly the lowest.

    A winner is lower than each other noise by at least two standard errors of the difference, sqrt(s1^2 + s2^2) of the
    two spreads. There is none if the metrics, extractors or numbers of images differ, or if there is only one noise.
    """
    found: dict[str, str | None] = {}
    for sampler in dict.fromkeys(row["sampler"] for row in rows):
        column = sorted((row for row in rows if row["sampler"] == sampler), key=lambda row: row["value"])
        comparable = len({(row["metric"], row["num_samples"], row["extractor"]) for row in column}) == 1
        clear = comparable and len(column) > 1 and all(beats(column[0], other) for other in column[1:])
        found[sampler] = column[0]["noise"] if clear else None
    return found


def beats(one: ScoreRow, other: ScoreRow) -> bool:
    """Whether a distance is lower by two standard errors. False if both spreads are 0 or one is unknown (NaN)."""
    error = math.hypot(one["spread"], other["spread"])
    return other["value"] - one["value"] >= STANDARD_ERRORS * error and error > 0


def verdicts(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """For each sampler what its scores show, in words."""
    return {
        sampler: "no difference shown" if noise is None else f"{noise} is lower than all others"
        for sampler, noise in winners(rows).items()
    }


def conditions(rows: Sequence[ScoreRow]) -> list[str]:
    """For each sampler a line: what its scores show, and the settings and start noise that they were made with."""
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


def show(value: object) -> str:
    """The text of a cell. Unknown values are "-".

    Floats have four significant digits, which is more than any of these figures is known to.
    """
    if value is None or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """The columns of the rows as a table in Markdown."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(show(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def score_table(rows: Sequence[ScoreRow]) -> str:
    """All columns in Markdown. The score of a winner is bold. Below the table are the `conditions`."""
    best = winners(rows)
    shown: list[Mapping[str, object]] = [
        {**row, "value": f"**{show(row['value'])}**"} if row["noise"] == best[row["sampler"]] else row for row in rows
    ]
    return markdown_table(shown, COLUMNS) + "\n" + "".join(f"- {line}\n" for line in conditions(rows))


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
    """The cells of `SUMMARY_COLUMNS` for the terminal. The value of a winner is bold (rich's markup)."""
    best, table = winners(rows), []
    for row in rows:
        content: Mapping[str, object] = row
        cells = {column: show(content[column]) for column in SUMMARY_COLUMNS}
        cells["spread"] = f"{row['spread']:.2g}"
        if row["noise"] == best[row["sampler"]]:
            cells["value"] = f"[bold]{cells['value']}[/]"
        table.append(list(cells.values()))
    return table
