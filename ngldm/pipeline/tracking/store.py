"""The connection to the MLflow store.

Tracking never stops the work: when the store fails, one warning says so and the stage goes on without it.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from ngldm.pipeline.workspace import main_root, store_file, tracking_uri

MODEL_TAG = "ngldm.model_sha256"  # of runs, logged models and registered versions
DATA_TAG = "ngldm.dataset_sha256"  # of scored runs: the images that they are compared with
EXTRACTOR_TAG = "ngldm.extractor_sha256"  # and the weights of the network that compares them
T = TypeVar("T")
LOCK_SECONDS = 120  # the first process makes the store's tables meanwhile; that takes seconds


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep the other processes of this repository from doing the same: making tables, an experiment, a parent."""
    from filelock import FileLock

    with FileLock(main_root() / "mlflow.db.lock", timeout=LOCK_SECONDS):
        yield


class Store:
    """A connection to the MLflow store, or, once it has failed, to nothing."""

    def __init__(self, experiment: str) -> None:
        self.client: Any = None
        self.experiment_id = ""
        self.attempt(lambda: self._connect(experiment), None)

    def _connect(self, experiment: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # at the end of each run, twice
        # A server that is gone costs seconds before the warning, not the four minutes of MLflow's own retries.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        logging.getLogger("alembic").setLevel(logging.ERROR)
        import mlflow
        from mlflow.exceptions import MlflowException

        file = store_file()  # asked before MLflow sets MLFLOW_TRACKING_URI itself
        mlflow.set_tracking_uri(tracking_uri())
        with one_at_a_time():  # two processes that make the same tables would break each other
            client = mlflow.MlflowClient()
            found = client.get_experiment_by_name(experiment)
            if found is None:
                location = (file.parent / "mlartifacts" / experiment).as_uri() if file else None
                try:
                    kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens with the runs
                    self.experiment_id = client.create_experiment(experiment, location, kind)
                except MlflowException:  # a process on another machine was faster
                    self.experiment_id = client.get_experiment_by_name(experiment).experiment_id
            else:
                self.experiment_id = found.experiment_id
        self.client = client

    def ask(self, action: Callable[[Any], T]) -> T | None:
        """What the action returns when it is given MLflow's client; None once the store has failed."""
        client = self.client
        return None if client is None else self.attempt(lambda: action(client), None)

    def create_run(self, name: str, tags: Mapping[str, str]) -> str | None:
        """Id of a new run; None once the store has failed."""

        def create(client: Any) -> str:
            run_id: str = client.create_run(self.experiment_id, tags=dict(tags), run_name=name).info.run_id
            return run_id

        return self.ask(create)

    def attempt(self, action: Callable[[], T], otherwise: T, give_up: bool = True) -> T:
        """Do it; on any failure warn, give up on the store unless told otherwise, and return `otherwise`."""
        try:
            return action()
        except Exception as error:
            if give_up:
                self.client = None
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            print(f"warning: MLflow failed, going on without it: {reason[0]}", file=sys.stderr)
            return otherwise
