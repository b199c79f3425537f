"""The MLflow store, as `ngldm doctor` sees it."""

import os
from pathlib import Path

from ngldm.io.errors import InputError
from ngldm.pipeline import workspace
from ngldm.pipeline.cli.health.finding import Finding
from ngldm.pipeline.config.params import Params


def store(params: Params | None) -> Finding:
    """Whether the MLflow store can be read. If there is none, none is made."""
    file = workspace.store_file()
    if file and not file.is_file():
        if os.access(file.parent, os.W_OK):
            return Finding("ok", f"none yet; the first training makes {file}")
        return Finding("FAIL", f"{file.parent} cannot be written", "change its permissions")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if file:
        _require_sqlite(file)
    import mlflow

    place = file or workspace.tracking_uri()
    try:
        client = mlflow.MlflowClient(workspace.tracking_uri())
        experiments = [e.experiment_id for e in client.search_experiments()]
        runs = len(client.search_runs(experiments, max_results=1000))
    except Exception as error:  # each kind of store raises errors of its own
        remedy = f"move {file} away" if file else "start the server or unset MLFLOW_TRACKING_URI"
        return Finding("FAIL", f"{place}: {str(error).splitlines()[0]}", remedy)
    return Finding("ok", f"{place}: {runs}{' or more' if runs == 1000 else ''} runs")


def _require_sqlite(file: Path) -> None:
    """Refuse a damaged file at once: MLflow would try to open it for minutes."""
    with file.open("rb") as opened:
        if opened.read(15) != b"SQLite format 3" and file.stat().st_size:
            raise InputError(f"{file} is not an SQLite database; move it away, and the next training makes a new one")
