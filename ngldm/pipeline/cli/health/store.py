"""The MLflow store, as `ngldm doctor` sees it: whether it can be written and read, and what waits for it."""

import os
import time
from pathlib import Path
from typing import Any

from ngldm.pipeline import workspace
from ngldm.pipeline.cli.health.finding import Finding
from ngldm.pipeline.config.params import Params

TAG = "ngldm.doctor"  # of an experiment: what is written and read again


def store(params: Params | None) -> Finding:
    """Whether a write to the MLflow store and a read from it succeed. If there is none, none is made."""
    from ngldm.pipeline.tracking.care.causes import trouble
    from ngldm.pipeline.tracking.care.journal import folder, kept

    file = workspace.store_file()
    if why := trouble():
        cause, _, remedy = why.rpartition("; ")
        return Finding("FAIL", cause, remedy)
    if file and not file.is_file():
        found = Finding("ok", f"none yet; the first training makes {file}")
    else:
        found = _written_and_read(params, workspace.without_password(workspace.tracking_uri()), file)
    if found.state == "ok" and kept():
        return Finding("warn", f"{found.detail}; {len(kept())} stages wait in {folder()}", "`ngldm track sync`")
    return found


def _written_and_read(params: Params | None, uri: str, file: Path | None) -> Finding:
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "6")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    import mlflow
    from mlflow.entities import ViewType

    try:
        client = mlflow.MlflowClient(workspace.tracking_uri())
        experiments = client.search_experiments(view_type=ViewType.ALL)
        fault = _fault(client, experiments, params, file)
        runs = len(client.search_runs([e.experiment_id for e in experiments], max_results=1000))
    except Exception as error:  # each kind of store raises errors of its own
        remedy = f"move {file} away" if file else "look at the server's log, or unset MLFLOW_TRACKING_URI"
        return Finding("FAIL", f"{uri}: {workspace.said_of(workspace.tracking_uri(), error)}", remedy)
    return fault or Finding("ok", f"{file or uri}: {runs}{' or more' if runs == 1000 else ''} runs")


def _fault(client: Any, experiments: list[Any], params: Params | None, file: Path | None) -> Finding | None:
    """What is wrong with a store that answers; None if nothing is."""
    from ngldm.pipeline.tracking.care.repairs import ARTIFACTS, old_home

    by_name = {experiment.name: experiment for experiment in experiments}
    own = by_name.get(params.experiment) if params else None
    if own is not None and own.lifecycle_stage != "active":
        return Finding("warn", f"the experiment {own.name!r} was deleted", "the next stage restores it, with its runs")
    active = [experiment for experiment in experiments if experiment.lifecycle_stage == "active"]
    if tried := own or next(iter(active), None):
        stamp = str(time.time_ns())
        client.set_experiment_tag(tried.experiment_id, TAG, stamp)
        if client.get_experiment(tried.experiment_id).tags.get(TAG) != stamp:
            return Finding("FAIL", "what is written to the store cannot be read again", "look at the server's log")
    if file and (old := old_home(file)):
        return Finding("warn", f"its artifacts are looked for in {old}", "the next stage changes that to this folder")
    folder = file.parent / ARTIFACTS if file else None
    if folder and folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        return Finding("FAIL", f"{folder} cannot be written by you", "change its rights")
    return None
