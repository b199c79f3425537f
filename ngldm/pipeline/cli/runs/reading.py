"""The runs of an MLflow experiment, and their scores by name."""

import logging
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import typer

from ngldm.io.errors import InputError
from ngldm.pipeline.workspace import said_of, store_file, tracking_uri, without_password

Experiment = Annotated[str | None, typer.Option(help="MLflow experiment.", show_default="`experiment` in params.yaml")]
Sweep = Annotated[str | None, typer.Option(help="Only runs below the parent of this name, or whose id begins so.")]
LOWER = ("fid", "fd", "kid")  # distances begin so
HIGHER = ("precision", "recall", "density", "coverage", "inception_score")
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
SECONDS = 5  # to wait for a server
SHOWN = 8  # so many names are listed in an error message


def read_runs(experiment: str) -> list[Any]:
    """All runs of an experiment, newest first.

    Raises:
        InputError: there is no store, it cannot be read, or it has no such experiment.
    """
    file = store_file()
    if file and not file.is_file():
        raise InputError(f"{file}: no MLflow store yet; run `dvc repro`, which makes it, or set MLFLOW_TRACKING_URI")
    address = tracking_uri()
    _require_server(address)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow's own retries would take four minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    for noisy in ("alembic", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    import mlflow

    found: list[Any] = []
    try:
        client = mlflow.MlflowClient(address)
        about = client.get_experiment_by_name(experiment)
        if about is None:
            names = ", ".join(sorted(e.name for e in client.search_experiments()))
            raise InputError(f"--experiment: the store has no {experiment!r}; it has: {names}")
        page = client.search_runs([about.experiment_id], order_by=["attributes.start_time DESC"], max_results=1000)
        found += page
        while page.token:
            order = ["attributes.start_time DESC"]
            page = client.search_runs([about.experiment_id], order_by=order, max_results=1000, page_token=page.token)
            found += page
    except InputError:
        raise
    except Exception as error:  # of MLflow, of the database's driver, of the network
        reason = said_of(address, error)
        raise InputError(f"the MLflow store {without_password(address)} cannot be read: {reason}") from error
    return found


def _require_server(address: str) -> None:
    """Check that a server answers at all. MLflow would try a database for an hour."""
    try:
        parts = urlsplit(address)
        port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    except ValueError as error:
        raise InputError(
            f"MLFLOW_TRACKING_URI: {without_password(address)} has no host and port that can be read; "
            "write / in a password as %2F, # as %23 and ? as %3F"
        ) from error
    proxied = parts.scheme.startswith("http") and getproxies()
    if proxied or parts.hostname is None or port is None:
        return
    try:
        socket.create_connection((parts.hostname, port), SECONDS).close()
    except OSError as error:
        raise InputError(f"the MLflow store {without_password(address)} cannot be reached: {error}") from error


def is_score(metric: str) -> bool:
    """Whether a metric is one of the main scores, or its spread: fd_classifier.auto, kid_std.auto, recall.ddim."""
    kind = metric.partition(".")[0]
    known = kind in HIGHER or kind.split("_")[0] in (*LOWER, *HIGHER)
    return known and not metric.endswith((".by_step", ".by_epoch"))


def is_distance(metric: str) -> bool:
    """Whether a metric is a Frechet distance of a sampler, and not its spread."""
    kind = metric.partition(".")[0]
    return is_score(metric) and kind.split("_")[0] in ("fid", "fd") and not kind.endswith(("_std", "_std_error"))


def is_scored(run: Any) -> bool:
    return any(map(is_score, run.data.metrics))


def higher_is_better(metric: str) -> bool:
    return metric.partition(".")[0] in HIGHER


def metric_key(asked: str, runs: Sequence[Any], option: str) -> str:
    """The metric that a person means: its name, or the part before the sampler if only one sampler has it.

    Raises:
        InputError: no run has it, or several metrics begin so.
    """
    known = sorted({key for run in runs for key in run.data.metrics})
    if asked in known:
        return asked
    begins = [key for key in known if key.partition(".")[0] == asked]
    begins = [key for key in begins if is_score(key)] or begins  # a score, rather than its curve by step
    if len(begins) == 1:
        return begins[0]
    choices = begins or [key for key in known if is_score(key)] or known
    why = "is the beginning of several metrics" if begins else "is no metric of these runs"
    raise InputError(f"{option}: {asked!r} {why}; choose one of: {listed(choices, 30)}")


def listed(names: Iterable[str], most: int = SHOWN) -> str:
    """The names in one line, the last ones as a number if there are many."""
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - most} more" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more
