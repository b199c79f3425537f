"""`ngldm runs`: the runs of an experiment, filtered and sorted."""

import csv
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from ngldm.io.errors import InputError
from ngldm.pipeline.cli.runs.choosing import best_first, of_noises, of_sweep, setting, where
from ngldm.pipeline.cli.runs.reading import Experiment, Sweep, is_distance, is_scored, metric_key, read_runs
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import duration, print_table
from ngldm.pipeline.tracking.runs import PARENT_ID


class Form(StrEnum):
    """How the runs are written."""

    TABLE, CSV, JSON = "table", "csv", "json"


def runs(
    noise: Annotated[
        list[str] | None, typer.Option(help="Only runs of this noise. Can be given several times.")
    ] = None,
    conditions: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="KEY=VALUE", help="Only runs with this param or tag, as train.lr=2e-4."),
    ] = None,
    sweep: Sweep = None,
    sort: Annotated[
        str | None, typer.Option(help="Best first by this metric, as fd_classifier.auto.", show_default="newest first")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="A further column: a param, tag or metric.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Largest number of runs.", show_default="all")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also runs without scores: running, failed, parents.")
    ] = False,
    form: Annotated[Form, typer.Option("--format", help="csv and json have every param and metric.")] = Form.TABLE,
    experiment: Experiment = None,
) -> None:
    """List the MLflow runs of an experiment with their scores.

    A name says what differs from the recipe, as in "laplace lr=2e-4". A metric may be named without its sampler if only
    one sampler has it.
    """
    wanted = experiment or load_params().experiment
    known = read_runs(wanted)
    found = [run for run in known if everything or is_scored(run)]
    if not found:
        raise InputError(f"experiment {wanted!r} has no run with scores yet; `ngldm runs --all` lists the others")
    found = of_noises(found, noise or [])
    if sweep is not None:
        found = of_sweep(found, known, sweep)
    for condition in conditions or []:
        found = where(found, condition)
    key = metric_key(sort, found, "--sort") if sort else None
    if key:
        found = best_first(found, key, reverse)
    elif reverse:
        found = found[::-1]
    shown = [column if _is_set(found, column) else metric_key(column, found, "--column") for column in columns or []]
    chosen = found[:limit]
    if form is Form.TABLE:
        _print_runs(chosen, key, shown)
        if len(chosen) < len(found):
            print(f"{len(found) - len(chosen)} more; --limit {len(found)} shows all")
        return
    records = [_record(run, known) for run in chosen]
    if form is Form.JSON:
        print(json.dumps(records, indent=2))
    else:
        _print_csv(records)


def _is_set(found: Sequence[Any], key: str) -> bool:
    return any(setting(run, key) is not None for run in found)


def _print_runs(chosen: Sequence[Any], sort: str | None, more: Sequence[str]) -> None:
    from rich.markup import escape

    distances = sorted({key for run in chosen for key in run.data.metrics if is_distance(key)})
    metrics = list(dict.fromkeys([*([sort] if sort else []), *distances]))
    rows = []
    for run in chosen:
        took = _seconds(run)
        cells = [escape(run.info.run_name), run.info.run_id[:8], _started(run).strftime("%Y-%m-%d %H:%M")]
        cells += ["-" if took is None else duration(took), run.info.status.lower()]
        cells += [escape(_text(run, key)) for key in [*more, *metrics]]
        rows.append(cells)
    print_table(["run", "id", "started", "took", "status", *more, *metrics], rows)


def _text(run: Any, key: str) -> str:
    value = setting(run, key)
    if value is None and key in run.data.metrics:
        return f"{run.data.metrics[key]:.4g}"
    return "-" if value is None else value


def _started(run: Any) -> datetime:
    return datetime.fromtimestamp(run.info.start_time / 1000).astimezone()


def _seconds(run: Any) -> float | None:
    return None if run.info.end_time is None else (run.info.end_time - run.info.start_time) / 1000


def _record(run: Any, known: Sequence[Any]) -> dict[str, Any]:
    """What `--format` writes of a run. `metrics` has null for a number that is not finite, as JSON wants it."""
    above = next((other for other in known if other.info.run_id == run.data.tags.get(PARENT_ID)), None)
    finite = {key: value if abs(value) < float("inf") else None for key, value in sorted(run.data.metrics.items())}
    return {
        "id": run.info.run_id,
        "name": run.info.run_name,
        "parent": None if above is None else above.info.run_name,
        "status": run.info.status,
        "started": datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds"),
        "seconds": _seconds(run),
        "tags": {key: value for key, value in sorted(run.data.tags.items()) if not key.startswith("mlflow.")},
        "params": dict(sorted(run.data.params.items())),
        "metrics": finite,
    }


def _print_csv(records: Sequence[dict[str, Any]]) -> None:
    """A row for each run, with a column for each param and each metric of any of them."""
    plain = ("id", "name", "parent", "status", "started", "seconds")
    inner = [(part, key) for part in ("params", "metrics") for key in sorted({k for r in records for k in r[part]})]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*plain, *(key for _, key in inner)])
    for record in records:
        writer.writerow([*(record[key] for key in plain), *(record[part].get(key) for part, key in inner)])
