"""`ngldm compare`: a table of MLflow runs with the params in which they differ, and their scores."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ngldm.io.errors import InputError
from ngldm.pipeline.cli.runs.choosing import newest_sweep, of_sweep, pick
from ngldm.pipeline.cli.runs.reading import Experiment, Sweep, higher_is_better, is_score, is_scored, read_runs
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.seeds import Mean, unpaired
from ngldm.pipeline.report.table import beats
from ngldm.pipeline.terminal import print_table
from ngldm.pipeline.tracking.store import DATA_TAG, EXTRACTOR_TAG

ORIGIN = ("recipe", "dataset", "git_commit", "dvc_exp_name")  # tags that get a row if they differ
COMPARABLE = (  # tags and params that must be known and equal in all runs, else no value is marked as the best
    *("recipe", "dataset", DATA_TAG, EXTRACTOR_TAG, "evaluate.extractor", "evaluate.fid_protocol"),
    *("sample.num_images",),
)
ACROSS = 6  # up to so many runs are columns; more are rows


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Ids, first letters of ids, names or noises (the newest of that name or noise).",
            show_default="all of the newest sweep",
        ),
    ] = None,
    sweep: Sweep = None,
    experiment: Experiment = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the newest runs, if none is named.", show_default="all")
    ] = None,
    equal: Annotated[bool, typer.Option("--all", help="Show equal params and all metrics too.")] = False,
) -> None:
    """Compare MLflow runs: the params that differ, and the scores.

    Without RUN it shows all runs of the newest sweep: those below one named parent (NGLDM_SWEEP, a study, a search),
    else those with the commit, recipe and data set of the newest run. More than six runs are rows instead of columns.

    A distance is bold if it is lower than all others by at least two standard errors of the difference; means over
    several trainings must be lower beyond the 95 % confidence interval of the difference (Welch). Precision and recall
    have no standard error, so they are never bold. Nothing is bold if the runs differ in recipe, data set,
    extractor or number of images, or if a run does not say them: such scores cannot be compared.
    """
    wanted = experiment or load_params().experiment
    chosen = _chosen(runs or [], sweep, wanted, limit)
    parts = {
        "params" if equal else "params that differ": _param_rows(chosen, equal),
        "scores": _score_rows(chosen, equal),
    }
    if len(chosen) > ACROSS:
        rows = [row for part in parts.values() for row in part]
        print_table(
            ["run", *(row[0] for row in rows)], list(zip(_names(chosen), *(row[1:] for row in rows), strict=True))
        )
    else:
        for heading, part in parts.items():
            if part:
                print_table([heading, *_names(chosen)], part)
            else:
                print(f"no {heading}")
    for obstacle in _obstacles(chosen):
        print(f"no best is marked: {obstacle}")


def _chosen(names: Sequence[str], sweep: str | None, experiment: str, limit: int | None) -> list[Any]:
    """The runs to compare: in the order in which they are named, else the oldest first.

    Raises:
        InputError: the store cannot be read, no run has scores, or a name is not known.
    """
    known = read_runs(experiment)
    scored = [run for run in known if is_scored(run)]
    if not scored:
        raise InputError(f"experiment {experiment!r} has no run with scores yet; the stage `evaluate` writes them")
    if names and sweep is not None:
        raise InputError("--sweep: only without RUN, which names single runs")
    if names:
        return [pick(scored, name, experiment) for name in names]
    found = newest_sweep(scored, known) if sweep is None else of_sweep(scored, known, sweep)
    return found[:limit][::-1]


def _names(runs: Sequence[Any]) -> list[str]:
    """Headings: the names of the runs. If two have the same name, the beginning of the id is added."""
    names = [run.info.run_name for run in runs]
    return [
        f"{name}\n{run.info.run_id[:8]}" if names.count(name) > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]


def _param_rows(runs: Sequence[Any], equal: bool) -> list[list[str]]:
    """A row for each param that differs between the runs, or with `equal` for each param. "-" means: not set."""
    contents = [
        {**{key: run.data.tags[key][:12] for key in ORIGIN if key in run.data.tags}, **run.data.params} for run in runs
    ]
    rows = []
    for key in dict.fromkeys(key for content in contents for key in sorted(content)):
        values = [content.get(key, "-") for content in contents]
        if equal or len(set(values)) > 1:
            rows.append([key, *(_escape(value) for value in values)])
    return rows


def _obstacles(runs: Sequence[Any]) -> list[str]:
    """Why the scores of the runs cannot be compared; nothing if they can."""
    found = {key: {run.data.tags.get(key, run.data.params.get(key)) for run in runs} for key in COMPARABLE}
    unknown = [key for key, values in found.items() if None in values]
    differing = [key for key, values in found.items() if len(values) > 1 and key not in unknown]
    return [
        *([f"the runs differ in {', '.join(differing)}"] if differing else []),
        *([f"not all runs have {', '.join(unknown)}"] if unknown else []),
    ]


def _score_rows(runs: Sequence[Any], everything: bool) -> list[list[str]]:
    alike = not _obstacles(runs)
    keys = sorted({key for run in runs for key in run.data.metrics if everything or is_score(key)})
    rows = []
    for key in keys:
        values = [run.data.metrics.get(key) for run in runs]
        name, _, rest = key.partition(".")
        metrics = [run.data.metrics for run in runs]
        spreads = [own.get(f"{name}_std.{rest}", own.get(f"{name}_std_error.{rest}")) for own in metrics]
        counts = [own.get("trainings") for own in metrics]
        known = [found for found in zip(values, spreads, counts, strict=True) if found[0] is not None]
        best = best_value(key, known) if alike else None
        cells = ["-" if v is None else f"[bold]{v:.4g}[/]" if v == best else f"{v:.4g}" for v in values]
        rows.append([key, *cells])
    return rows


Scored = tuple[float, float | None, float | None]  # value, its standard error, trainings of which it is the mean


def best_value(metric: str, scores: Sequence[Scored]) -> float | None:
    """The lowest value of a distance if it is clearly lower than all others, else None.

    Args:
        metric: name of the score. Only distances have a best value.
        scores: one for each run that has it. Standard error and number of trainings are None if unknown.
    """
    kind = metric.split(".")[0]
    if len(scores) < 2 or higher_is_better(metric) or kind.endswith("_std") or not is_score(metric):
        return None
    best, *others = sorted(scores, key=lambda score: score[0])
    return best[0] if all(_clearly_lower(best, other) for other in others) else None


def _clearly_lower(best: Scored, other: Scored) -> bool:
    """Of two means over trainings by `unpaired`, of two others by two standard errors (`beats`).

    A mean and a single training are not compared: nothing says how much the latter varies with its seed.
    """
    (value, error, count), (other_value, other_error, other_count) = best, other
    if count is None and other_count is None:
        return beats(value, error, other_value, other_error)
    if error is None or other_error is None or count is None or other_count is None:
        return False
    means = Mean(value, error, int(count)), Mean(other_value, other_error, int(other_count))
    return unpaired(*means).word == "lower"


def _escape(value: str) -> str:
    from rich.markup import escape

    return escape(value)
