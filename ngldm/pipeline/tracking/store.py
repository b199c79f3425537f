"""The connection to the MLflow store.

Tracking never stops the work: if the store fails, a warning is printed and the stage continues without it. What the
store misses is kept on the disk (`care/journal.py`) and sent by the next stage that reaches it.
"""

import logging
import os
import sys
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from ngldm.io import processes
from ngldm.io.disk import make_ordinary
from ngldm.pipeline.tracking.care.causes import trouble
from ngldm.pipeline.tracking.care.journal import LOCAL, Journal, NotKeptHere, folder
from ngldm.pipeline.tracking.care.living import own_mark
from ngldm.pipeline.tracking.care.repairs import follow_home, old_home
from ngldm.pipeline.tracking.care.sending import SENT_TAG, Sending
from ngldm.pipeline.tracking.care.turns import Hangs, turn
from ngldm.pipeline.workspace import main_root, said_of, store_file, tracking_uri, without_password

MODEL_TAG = "ngldm.model_sha256"  # of runs, logged models and registered versions
DATA_TAG = "ngldm.dataset_sha256"  # of scored runs: the images that they are compared with
EXTRACTOR_TAG = "ngldm.extractor_sha256"  # and the weights of the network that compares them
GUIDE = (
    'Trainings of ngldm and their scores. Choose the mode "Model training", then the charts. '
    'A row with a "+" is a comparison: open it, and the charts of its trainings appear.'
)
T = TypeVar("T")
START = 2.0  # seconds in which a thread begins, if it can
PATIENCE = 15.0  # seconds that a store which fails may cost a stage in all
# Other processes wait while the first makes the tables of the store: so long without a sign of it, and in all.
LOCK_SECONDS, MOST_LOCK_SECONDS = 12.0, 120.0
# What MLflow would wait by itself is minutes. The two requests, with the pause between them, end before our patience.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # its errors are ours to tell, without its tracebacks
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # else it is printed twice at the end of each run
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
}
_inside: ContextVar[bool] = ContextVar("_inside", default=False)  # whether this code runs inside a call of the store
_alone: ContextVar[bool] = ContextVar("_alone", default=True)  # whether `one_at_a_time` has a store to protect


class StoreError(RuntimeError):
    """The store cannot be used: the message says why, and what to do."""


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let only one process of this repository run the block: it makes tables, an experiment or a parent run.

    Raises:
        StoreError: another process does not come to an end with its block.
    """
    if not _alone.get():
        yield
        return
    try:
        with turn(main_root() / "mlflow.db.lock", LOCK_SECONDS, MOST_LOCK_SECONDS):
            yield
    except Hangs as error:
        raise StoreError(str(error)) from None


class Store:
    """A connection to the MLflow store. After the store has failed, what it misses is kept on the disk.

    Of several processes only the main one has a connection.

    Attributes:
        client: MLflow's; a `Journal` after the store has failed; None if nothing can be kept either.
    """

    def __init__(self, experiment: str) -> None:
        self.client: Any = None
        self.experiment, self.experiment_id, self.left = experiment, "", PATIENCE
        if processes.is_main():
            quieten()
            local = tracking_uri().startswith("sqlite:")  # its tables are made here, which takes as long as it takes
            self.attempt(lambda: self._connect(experiment), None, patient=local)
            self.send()

    @property
    def answers(self) -> bool:
        """Whether the store works."""
        return self.client is not None and not isinstance(self.client, Journal)

    def _connect(self, experiment: str) -> None:
        import mlflow
        from mlflow.exceptions import MlflowException

        if why := trouble():
            raise StoreError(why)
        file = store_file()
        mlflow.set_tracking_uri(tracking_uri())
        with one_at_a_time():  # two processes that make the same tables at once would damage them
            if file and (old := old_home(file)):
                follow_home(file, old)
                print(f"MLflow: this repository was moved from {old}; the places of artifacts in {file} follow")
            client = mlflow.MlflowClient()
            if file and file.is_file():
                make_ordinary(file)  # SQLite lets no group write, whatever the umask is
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
                if found.lifecycle_stage != "active":
                    client.restore_experiment(self.experiment_id)
                    print(f"MLflow: the experiment {experiment!r} was deleted; it is restored, with its runs")
        self.client = client

    def send(self) -> int:
        """Send what earlier stages had to keep. Returns how many records were sent."""
        from filelock import FileLock, Timeout

        if not self.answers or not folder().is_dir():
            return 0

        def send() -> int:
            try:
                with FileLock(main_root() / "mlflow.db.sending.lock", timeout=LOCK_SECONDS):
                    return Sending(self, print).send_all(self.experiment)
            except Timeout:  # another process sends them
                return 0

        sent = self.attempt(send, 0, patient=True)
        if sent:
            print(f"MLflow: sent {sent} records that earlier stages had to keep")
        return sent

    def ask(self, action: Callable[[Any], T], patient: bool = False) -> T | None:
        """Call the action with MLflow's client and return its result; after the store has failed with a journal.

        The result is None if a journal does not know it, and if nothing can be kept.

        Args:
            patient: whether the action may take as long as it needs, as for a model that is uploaded.
        """
        client = self.client
        if self.answers:
            try:
                return self._timed(lambda: action(client), patient)
            except Exception as error:
                if _inside.get():
                    raise  # the whole of the action in which this one lies is kept
                self._fall_back(error)
        return self._keep(action)

    def _keep(self, action: Callable[[Any], T]) -> T | None:
        journal = self.client
        if journal is None:
            return None
        token = _alone.set(False)
        try:
            return action(journal)
        except NotKeptHere:
            return None
        except Exception as error:
            self.client = None
            print(
                f"warning: what MLflow misses cannot be kept in {folder()}: {said_of(tracking_uri(), error)}",
                file=sys.stderr,
            )
            return None
        finally:
            _alone.reset(token)

    def sent_id(self, run_id: str) -> str | None:
        """The id of a run in MLflow, also if it was kept in a journal first; None if it is not there."""
        if not (self.answers and run_id.startswith(LOCAL)):
            return run_id
        condition = f"tags.`{SENT_TAG}` = '{run_id}'"
        found = self.ask(lambda client: client.search_runs([self.experiment_id], condition, max_results=1))
        return found[0].info.run_id if found else None

    def create_run(self, name: str, tags: Mapping[str, str], seconds: float = 0.0) -> str | None:
        """Make a run and return its id. None if it can neither be made nor kept.

        Args:
            seconds: so long ago it has started.
        """
        started = round((time.time() - seconds) * 1000)

        def create(client: Any) -> str:
            run_id: str = client.create_run(self.experiment_id, started, {**tags, **own_mark()}, name).info.run_id
            return run_id

        return self.ask(create)

    def attempt(self, action: Callable[[], T], otherwise: T, give_up: bool = True, patient: bool = False) -> T:
        """Call the action and return its result. If it raises, print a warning and return `otherwise`.

        Args:
            give_up: whether the store counts as failed after that.
            patient: whether the action may take as long as it needs.
        """
        try:
            return self._timed(action, patient or not give_up)
        except Exception as error:
            if give_up:
                self._fall_back(error)
            else:
                print(f"warning: MLflow failed, going on without it: {said_of(tracking_uri(), error)}", file=sys.stderr)
            return otherwise

    def _timed(self, action: Callable[[], T], patient: bool) -> T:
        """Call the action. If it fails, its time counts against what a failing store may cost.

        Raises:
            StoreError: it took longer than that.
        """
        if _inside.get():
            return action()
        start = time.monotonic()
        token = _inside.set(True)
        try:
            return action() if patient else _within(self.left, action)
        except Exception:
            self.left = max(1.0, self.left - (time.monotonic() - start))
            raise
        finally:
            _inside.reset(token)

    def _fall_back(self, error: Exception) -> None:
        """Go on with a journal, and say why."""
        if not self.answers and self.client is not None:
            return
        self.client = Journal(self.experiment)
        why = str(error) if isinstance(error, StoreError) else trouble(1.0) or said_of(tracking_uri(), error)
        print(
            f"warning: MLflow failed, going on without it: {why}. What it misses is kept in {folder()}; "
            "the next stage sends it, or `ngldm track sync`",
            file=sys.stderr,
        )


def quieten() -> None:
    """Import MLflow, with settings of ours where the user has none."""
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)
    import mlflow  # noqa: F401  # outside the time that the store is given

    ours = {
        "mlflow": os.environ["MLFLOW_LOGGING_LEVEL"],
        "sqlalchemy": "CRITICAL",
        "alembic": "ERROR",
        "urllib3": "ERROR",
    }
    for name, level in ours.items():
        logging.getLogger(name).setLevel(level)


def _within(seconds: float, action: Callable[[], T]) -> T:
    """Call the action in a thread, which is left alone if it takes too long: nothing else ends a call that hangs.

    Without the memory for a thread it is called in this one. `Thread.start` would wait for ever for a thread that has
    died of that before its first line.

    Raises:
        StoreError: it took longer.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    first, done = threading.Lock(), threading.Event()

    def work() -> None:
        if not first.acquire(blocking=False):
            return
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)
        done.set()

    with suppress(RuntimeError):  # can't start new thread
        start_new_thread(copy_context().run, (work,))
    if not done.wait(min(START, seconds)):
        work()  # nothing if the thread has begun
        done.wait(max(0.0, seconds - START))
    if errors:
        raise errors[0]
    if not results:
        place = without_password(tracking_uri())
        raise StoreError(trouble(1.0) or f"{place} did not answer within {seconds:.0f} s; look at its log")
    return results[0]
