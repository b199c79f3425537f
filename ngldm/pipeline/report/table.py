"""The table of scores: its rows, the winners, and the table as Markdown and for the terminal."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ngldm.io.errors import InputError
from ngldm.io.files import entry, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.report.rows import COLUMNS, ScoreRow, average, columns_of, comparable, several
from ngldm.pipeline.report.seeds import tied_for_best

STANDARD_ERRORS = 2.0  # a winner is lower by at least this many standard errors of the difference
SUMMARY_COLUMNS = ("noise", "sampler", "network_calls", "value", "spread", "kid", "precision", "recall")


LADDER = ("images", "floor", "blur_light", "blur_strong", "noise_light", "noise_strong")


def collect_rows(params: Params) -> list[ScoreRow]:
    """One row per training and sampler, from the files of the stages.

    Raises:
        InputError: a file is missing, or lacks a figure.
    """
    extractor = entry(read_reference(), "extractor", str)
    rows = []
    for label in params.training_labels:
        evaluated = workspace.metrics("evaluate", label)
        noise, seed = params.training(label)
        for sampler in params.samplers:
            scores = _of_sampler(evaluated, sampler)
            metric = _metric(scores, evaluated)
            file = workspace.samples(label, sampler) / "samples.json"
            about = read_json(file, "sampler", "network_calls", "start_noise")
            options = entry(about, "sampler", dict, file)
            entry(options, "num_inference_steps", int, file)
            rows.append(
                ScoreRow(
                    noise=noise,
                    sampler=sampler,
                    seeds=str(seed),
                    method=entry(options, "method", str, file),
                    settings=describe(options),
                    start_noise=entry(about, "start_noise", str, file),
                    network_calls=entry(about, "network_calls", int, file),
                    metric=metric,
                    value=entry(scores, metric, float, evaluated),
                    spread=entry(scores, f"{metric}_std", float, evaluated),
                    kid=entry(scores, "kid", float, evaluated),
                    precision=entry(scores, "precision", float, evaluated),
                    recall=entry(scores, "recall", float, evaluated),
                    num_samples=entry(scores, "num_samples", int, evaluated),
                    extractor=extractor,
                    train_seconds=read_figure(workspace.metrics("train", label), "train_seconds"),
                    sample_seconds=read_figure(workspace.metrics("sample", label, sampler), "sample_seconds"),
                )
            )
    return rows


def _of_sampler(file: Path, sampler: str) -> dict[str, object]:
    """The scores of a sampler in a file of the stage `evaluate`."""
    evaluated: dict[str, object] = entry(read_json(file, "samplers"), "samplers", dict, file)
    if sampler not in evaluated:
        raise InputError(f"{file}: has no sampler {sampler!r}; run the stage `evaluate` again")
    return entry(evaluated, sampler, dict, file)


def _metric(scores: Mapping[str, object], file: Path) -> str:
    """The name of the Frechet distance: the score with a spread that is not KID."""
    for key in scores:
        if f"{key}_std" in scores and key != "kid":
            return key
    raise InputError(f"{file}: a sampler has no Frechet distance with its spread; run the stage `evaluate` again")


def read_figure(file: Path, key: str) -> float:
    """One number of a JSON file.

    Raises:
        InputError: the file is missing or damaged, or has no such number.
    """
    return entry(read_json(file), key, float, file)


def read_reference() -> dict[str, object]:
    """What the stage `reference` found: the extractor, its metric, the floor and the ladder of damaged images.

    Points have no ladder.

    Raises:
        InputError: reference.json is missing or damaged, or lacks a figure.
    """
    file = workspace.REFERENCE / "reference.json"
    texts, counts = ("extractor", "metric"), ("num_images", "floor_num_images")
    about = read_json(file, *texts, *counts, "floor")
    for key in texts:
        entry(about, key, str, file)
    for key in counts:
        entry(about, key, int, file)
    for key in ("floor", *(("accuracy",) if "accuracy" in about else ())):
        entry(about, key, float, file)
    if about["extractor"] != "points":
        ladder = entry(about, "ladder", dict, file)
        for key in LADDER:
            entry(ladder, key, float, file)
        entry(ladder, "faults", list, file)
    return about


def ladder_warnings(about: Mapping[str, Any]) -> list[str]:
    """A sentence if the ladder has faults.

    Args:
        about: of `read_reference`.
    """
    faults = about["ladder"]["faults"] if "ladder" in about else []
    if not faults:
        return []
    return [f"Do not trust these scores: the extractor {about['extractor']} does not see damage: {'; '.join(faults)}."]


def describe(sampler: Mapping[str, object]) -> str:
    """The settings of a sampler in a few words, without its start noise, which has a column of its own."""
    shown = ("method", "num_inference_steps", "start_noise")
    others = {key: value for key, value in sampler.items() if key not in shown and value is not None}
    words = [f"{key} {show(value)}" for key, value in others.items()]
    return ", ".join([f"{sampler['method']} {sampler['num_inference_steps']} steps", *words])


def winners(rows: Sequence[ScoreRow]) -> dict[str, str | None]:
    """For each sampler the noise that beats all others, or None.

    With one training of each noise it must be lower by two standard errors (`beats`), with several by more than the
    confidence interval of the difference (`tied_for_best`). There is no winner if the metrics, extractors or numbers of
    images differ, or if there is only one noise.
    """
    found: dict[str, str | None] = {}
    for sampler, column in columns_of(rows).items():
        best, *others = sorted(average(column), key=lambda row: row["value"])
        if several(column):
            lower = len(tied_for_best(column)) == 1
        else:
            lower = all(beats(best["value"], best["spread"], other["value"], other["spread"]) for other in others)
        clear = comparable(column) and lower
        found[sampler] = best["noise"] if clear and others else None
    return found


def beats(value: float, spread: float | None, other: float, other_spread: float | None) -> bool:
    """Whether `value` is lower than `other` by two standard errors of the difference, sqrt(s1^2 + s2^2).

    False if a spread is not known (None or NaN), or if both are 0.
    """
    if spread is None or other_spread is None:
        return False
    error = math.hypot(spread, other_spread)
    return other - value >= STANDARD_ERRORS * error and error > 0


def verdicts(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """For each sampler what its scores show, in words."""
    found, best = {}, winners(rows)
    for sampler, column in columns_of(rows).items():
        if best[sampler]:
            found[sampler] = f"{best[sampler]} is lower than all others"
        elif len({row["noise"] for row in column}) == 1:
            found[sampler] = "only one noise"
        elif not comparable(column):
            found[sampler] = "not comparable"
        else:
            found[sampler] = f"tie of {', '.join(tied_for_best(column))}" if several(column) else "no difference shown"
    return found


def conditions(rows: Sequence[ScoreRow]) -> list[str]:
    """A line for each sampler: what its scores show, its settings, and its start noise."""
    lines = []
    said = verdicts(rows)
    for sampler, column in columns_of(average(rows)).items():
        noises: dict[str, list[str]] = {}
        for row in column:
            noises.setdefault(f"{row['settings']}, start noise {row['start_noise']}", []).append(row["noise"])
        settings = "; ".join(
            text + (f" ({', '.join(names)})" if len(noises) > 1 else "") for text, names in noises.items()
        )
        lines.append(f"{sampler}: {said[sampler]}. {settings}.")
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


def score_table(rows: Sequence[ScoreRow], notes: Sequence[str] = ()) -> str:
    """All columns in Markdown. The score of a winner is bold. Below the table are the `conditions`, then the notes.

    Of several trainings of each noise it has the means.
    """
    best = winners(rows)
    shown: list[Mapping[str, object]] = [
        {**row, "value": f"**{show(row['value'])}**"} if row["noise"] == best[row["sampler"]] else row
        for row in average(rows)
    ]
    means = (
        [f"means over the seeds; spread is the standard error of the mean {shown[0]['metric']}"]
        if several(rows)
        else []
    )
    return (
        markdown_table(shown, COLUMNS) + "\n" + "".join(f"- {line}\n" for line in [*means, *conditions(rows), *notes])
    )


def few_scores(rows: Sequence[ScoreRow]) -> dict[str, object]:
    """The few figures that `dvc exp show` and `dvc metrics diff` compare; of several trainings the means.

    `best` is the row with the lowest distance. Its keys are the same for every noise, so experiments can be sorted by
    them. Lower is better, except for precision, recall and the autoencoder's PSNR in dB, where higher is better.
    """
    scores: dict[str, dict[str, float]] = {row["noise"]: {} for row in rows}
    for row in average(rows):
        scores[row["noise"]][row["sampler"]] = row["value"]
    floor = read_figure(workspace.REFERENCE / "reference.json", "floor")
    psnr = read_figure(workspace.metrics("autoencoder"), "psnr_db")
    best = min(average(rows), key=lambda row: (math.isnan(row["value"]), row["value"]))
    figures = {best["metric"]: best["value"], **{key: best[key] for key in ("kid", "precision", "recall")}}
    return {
        "best": {"noise": best["noise"], "sampler": best["sampler"], **figures},
        rows[0]["metric"]: scores,
        "floor": floor,
        "autoencoder_psnr_db": psnr,
    }


def summary_rows(rows: Sequence[ScoreRow]) -> list[list[str]]:
    """The cells of `SUMMARY_COLUMNS` for the terminal. The value of a winner is bold (rich's markup)."""
    best, table = winners(rows), []
    for row in average(rows):
        content: Mapping[str, object] = row
        cells = {column: show(content[column]) for column in SUMMARY_COLUMNS}
        cells["spread"] = f"{row['spread']:.2g}"
        if row["noise"] == best[row["sampler"]]:
            cells["value"] = f"[bold]{cells['value']}[/]"
        table.append(list(cells.values()))
    return table
