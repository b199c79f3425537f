"""The further scores: all together, and those of single classes."""

import math
import statistics
from collections.abc import Mapping, Sequence

from ngldm.io.files import entry, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.experiments.summary import FurtherSummary
from ngldm.pipeline.report.rows import ScoreRow, std_error
from ngldm.pipeline.report.tables.digits import Measured
from ngldm.pipeline.report.tables.table import Row
from ngldm.scoring.features.names import PER_CLASS

NAMED = ("noise", "sampler")


def further_rows(params: Params) -> list[Row]:
    """A row of further scores per training and sampler, and, of points, one of the training points, which comes first.

    All rows have the same keys: the columns of the table. What a row has not is None. With several seeds each row has
    its own.
    """
    rows: list[Row] = []
    for label in params.training_labels:
        noise, seed = params.training(label)
        content = read_json(workspace.metrics("evaluate", label), "samplers")
        seeds = {"seeds": str(seed)} if len(params.seeds) > 1 else {}
        known = entry(content, "samplers", dict)
        if not rows and "further_floor" in content:
            rows.append({"noise": "training points", "sampler": "-", **entry(content, "further_floor", dict)})
        rows += [
            {
                "noise": noise,
                "sampler": sampler,
                **seeds,
                **{key: known[sampler][key] for key in further_keys(known[sampler])},
            }
            for sampler in params.samplers
        ]
    columns = dict.fromkeys([*NAMED, *(key for row in rows for key in row)])
    return [{**columns, **row} for row in rows]


def further_means(rows: Sequence[Row]) -> list[Row]:
    """The rows of `further_rows` by noise and sampler: of several trainings the mean and its standard error."""
    groups: dict[tuple[object, object], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["noise"], row["sampler"]), []).append(row)
    return [
        {key: _mean_cell([row[key] for row in group]) for key in group[0]} if len(group) > 1 else group[0]
        for group in groups.values()
    ]


def _mean_cell(values: Sequence[object]) -> object:
    """Labels are the same in all rows of a group, or the seeds. A figure that not all trainings have is not known."""
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values):
        return Measured(statistics.fmean(numbers), std_error(numbers))
    return None if None in values else ", ".join(dict.fromkeys(map(str, values)))


def further_keys(scores: Mapping[str, object]) -> list[str]:
    """The names of the further scores among those of one sampler: all that have no column in the first table."""
    metric = {key for key in scores if f"{key}_std" in scores}
    first = {*ScoreRow.__annotations__, *metric, *(f"{key}_std" for key in metric), "kid", "kid_std"}
    return [key for key in scores if key not in first]


def overall(rows: Sequence[Row]) -> list[str]:
    """The columns of the rows that are not of a single class."""
    return [column for column in rows[0] if PER_CLASS not in column] if rows else []


def class_rows(rows: Sequence[Row]) -> list[Row]:
    """A row for each class of each row: its scores have the columns. None if there are no scores of classes.

    Args:
        rows: of `further_rows` or `further_means`.
    """
    split = [column.split(PER_CLASS) for column in (rows[0] if rows else ()) if PER_CLASS in column]
    scores, classes = (list(dict.fromkeys(part[i] for part in split)) for i in (0, 1))
    return [
        {
            **{column: row[column] for column in (*NAMED, "seeds") if column in row},
            "class": int(label) if label.isdigit() else label,
            **{score: row.get(f"{score}{PER_CLASS}{label}") for score in scores},
        }
        for row in rows
        for label in classes
    ]


def further_study_rows(summary: Sequence[FurtherSummary]) -> list[Row]:
    """A row for each variant and sampler, a column for each score: mean ± standard error. What it has not is None."""
    columns = ["variant", "sampler", *(row["score"] for row in summary)]
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for row in summary:
        key: dict[str, object] = {"variant": row["variant"], "sampler": row["sampler"]}
        cells = rows.setdefault((row["variant"], row["sampler"]), {**dict.fromkeys(columns), **key})
        error = None if math.isnan(row["std_error"]) else row["std_error"]
        cells[row["score"]] = Measured(row["mean"], error)
    return [*rows.values()]


def tail_errors(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, object]]]:
    """The error of the tails by noise and sampler, for `dvc exp show`; nothing if the rows have none.

    Of several trainings it is the mean.
    """
    values: dict[tuple[str, str], list[object]] = {}
    for row in rows:
        if "msle" in row and row["sampler"] != "-":
            values.setdefault((str(row["noise"]), str(row["sampler"])), []).append(row["msle"])
    found: dict[str, dict[str, object]] = {}
    for (noise, sampler), trainings in values.items():
        known = [float(value) for value in trainings if isinstance(value, int | float)]
        mean = statistics.fmean(known) if len(known) == len(trainings) else None
        found.setdefault(noise, {})[sampler] = mean
    return {"msle": found} if found else {}
