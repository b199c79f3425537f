"""The connection to the MLflow store.

Tracking never stops the work: if the store fails, a warning is printed and the stage continues without it.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from ngldm.io import processes
from ngldm.pipeline.workspace import main_root, store_file, tracking_uri

MODEL_TAG = "ngldm.model_sha256"  # of runs, logged models and registered versions
DATA_TAG = "ngldm.dataset_sha256"  # of scored runs: the images that they are compared with
EXTRACTOR_TAG = "ngldm.extractor_sha256"  # and the weights of the network that compares them
GUIDE = (
    'Trainings of ngldm and their scores. Choose the mode "Model training", then the charts. '
    'A row with a "+" is a comparison: open it, and the charts of its trainings appear.'
)
T = TypeVar("T")
LOCK_SECONDS = 120  # other processes wait while the first makes the tables of the store, which takes seconds


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let only one process of this repository run the block: it makes tables, an experiment or a parent run."""
    from filelock import FileLock

    with FileLock(main_root() / "mlflow.db.lock", timeout=LOCK_SECONDS):
        yield


class Store:
    """A connection to the MLflow store. After the store has failed, the methods do nothing.

    Of several processes only the main one has a connection.
    """

    def __init__(self, experiment: str) -> None:
        self.client: Any = None
        self.experiment_id = ""
        if processes.is_main():
            self.attempt(lambda: self._connect(experiment), None)

    def _connect(self, experiment: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault(
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"
        )  # else it is printed twice at the end of each run
        # If the server is gone, the warning comes after seconds. MLflow's own retries would take four minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        logging.getLogger("alembic").setLevel(logging.ERROR)
        import mlflow
        from mlflow.exceptions import MlflowException

        file = store_file()  # before set_tracking_uri, which sets MLFLOW_TRACKING_URI
        mlflow.set_tracking_uri(tracking_uri())
        with one_at_a_time():  # two processes that make the same tables at once would damage them
            client = mlflow.MlflowClient()
            found = client.get_experiment_by_name(experiment)
            if found is None:
                location = (file.parent / "mlartifacts" / experiment).as_uri() if file else None
                try:
                    # With the kind the UI opens at the runs, if its mode is "Model training".
                    about = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": GUIDE}
                    self.experiment_id = client.create_experiment(experiment, location, about)
                except MlflowException:  # a process on another machine was faster
                    self.experiment_id = client.get_experiment_by_name(experiment).experiment_id
            else:
                self.experiment_id = found.experiment_id
        self.client = client

    def ask(self, action: Callable[[Any], T]) -> T | None:
        """Call the action with MLflow's client and return its result. None after the store has failed."""
        client = self.client
        return None if client is None else self.attempt(lambda: action(client), None)

    def create_run(self, name: str, tags: Mapping[str, str], seconds: float = 0.0) -> str | None:
        """Make a run and return its id. None after the store has failed.

        Args:
            seconds: so long ago it has started.
        """
        started = round((time.time() - seconds) * 1000)

        def create(client: Any) -> str:
            run_id: str = client.create_run(self.experiment_id, started, dict(tags), name).info.run_id
            return run_id

        return self.ask(create)

    def attempt(self, action: Callable[[], T], otherwise: T, give_up: bool = True) -> T:
        """Call the action and return its result. If it raises, print a warning and return `otherwise`.

        Args:
            give_up: whether the store counts as failed after that.
        """
        try:
            return action()
        except Exception as error:
            if give_up:
                self.client = None
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            print(f"warning: MLflow failed, going on without it: {reason[0]}", file=sys.stderr)
            return otherwise
