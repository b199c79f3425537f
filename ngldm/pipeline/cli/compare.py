"""`ngldm compare`: a table of MLflow runs with the params in which they differ, and their scores."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ngldm.io.errors import InputError
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.seeds import Mean, unpaired
from ngldm.pipeline.report.table import beats
from ngldm.pipeline.terminal import print_table
from ngldm.pipeline.tracking.store import DATA_TAG, EXTRACTOR_TAG
from ngldm.pipeline.workspace import store_file, tracking_uri

HIGHER = ("precision", "recall")
LOWER = ("fid", "fd", "kid")
ORIGIN = ("recipe", "dataset", "git_commit", "dvc_exp_name")  # tags that get a row if they differ
COMPARABLE = (  # tags and params that must be known and equal in all runs, else no value is marked as the best
    *("recipe", "dataset", DATA_TAG, EXTRACTOR_TAG, "evaluate.extractor", "evaluate.fid_protocol"),
    *("sample.num_images",),
)
SHOWN = 8  # so many names are listed in an error message


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Ids, first letters of ids, or names (the newest of that name).",
            show_default="the newest of each name",
        ),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="MLflow experiment.", show_default="`experiment` in params.yaml")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of runs, if none is named.")] = 6,
    equal: Annotated[bool, typer.Option("--all", help="Show equal params and all metrics too.")] = False,
) -> None:
    """Compare MLflow runs: the params that differ, and the scores.

    A distance is bold if it is lower than all others by at least two standard errors of the difference; means over
    several trainings must be lower beyond the 95 % confidence interval of the difference (Welch). Precision and recall
    have no standard error, so they are never bold. Nothing is bold if the runs differ in recipe, data set,
    extractor or number of images, or if a run does not say them: such scores cannot be compared.
    """
    wanted = experiment or load_params().experiment
    found = _scored_runs(wanted)
    chosen = [_pick(found, name, wanted) for name in runs] if runs else _newest_of_each_name(found, limit)
    for heading, rows in (
        ("params" if equal else "params that differ", _param_rows(chosen, equal)),
        ("scores", _score_rows(chosen, equal)),
    ):
        if rows:
            print_table([heading, *_names(chosen)], rows)
        else:
            print(f"no {heading}")
    for obstacle in _obstacles(chosen):
        print(f"no best is marked: {obstacle}")


def _scored_runs(experiment: str) -> list[Any]:
    """The runs of an experiment that have scores, newest first.

    Raises:
        InputError: there is no store, no such experiment, or no run with scores.
    """
    file = store_file()
    if file and not file.is_file():
        raise InputError(f"{file}: no MLflow store yet; run `dvc repro`, which makes it, or set MLFLOW_TRACKING_URI")
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        client = mlflow.MlflowClient(tracking_uri())
        about = client.get_experiment_by_name(experiment)
        if about is None:
            names = ", ".join(sorted(e.name for e in client.search_experiments()))
            raise InputError(f"--experiment: the store has no {experiment!r}; it has: {names}")
        runs = client.search_runs([about.experiment_id], order_by=["attributes.start_time DESC"], max_results=1000)
    except MlflowException as error:
        raise InputError(f"the MLflow store {file or tracking_uri()} cannot be read: {error}") from error
    scored = [run for run in runs if any(map(_is_score, run.data.metrics))]
    if not scored:
        raise InputError(f"experiment {experiment!r} has no run with scores yet; the stage `evaluate` writes them")
    return scored


def _is_score(metric: str) -> bool:
    return metric.split(".")[0].split("_")[0] in (*LOWER, *HIGHER)


def _pick(found: Sequence[Any], name: str, experiment: str) -> Any:
    """The run with that id, with an id that begins so, or with that name (the newest).

    Raises:
        InputError: there is none, or several ids begin so.
    """
    named = [run for run in found if name in (run.info.run_name, run.info.run_id)]
    if named:
        return named[0]
    fits = [run for run in found if run.info.run_id.startswith(name)] if name else []
    if len(fits) > 1:
        raise InputError(f"RUN: {name!r} begins {len(fits)} ids: {', '.join(run.info.run_id for run in fits[:SHOWN])}")
    if not fits:
        names = list(dict.fromkeys(run.info.run_name for run in found))
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        shown = ", ".join(names[:SHOWN])
        raise InputError(f"RUN: {name!r} is no scored run of experiment {experiment!r}, which has: {shown}{more}")
    return fits[0]


def _newest_of_each_name(found: Sequence[Any], limit: int) -> list[Any]:
    newest: dict[str, Any] = {}
    for run in found:
        newest.setdefault(run.info.run_name, run)
    return list(newest.values())[:limit][::-1]


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
    keys = sorted({key for run in runs for key in run.data.metrics if everything or _is_score(key)})
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
    if len(scores) < 2 or kind in HIGHER or kind.endswith("_std") or not _is_score(metric):
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
