"""MLflow runs whose process was killed: nobody else can end them.

A process holds the lock of a file for each of its runs, checkpoints/.run-<run id>.lock of the main repository. A kill
frees the lock, so a file whose lock is free names a run that has died.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ngldm.pipeline.tracking.runs import PARENT_ID, Run
from ngldm.pipeline.tracking.store import Store
from ngldm.pipeline.workspace import main_root

PREFIX = ".run-"


def _folder() -> Path:
    return main_root() / "checkpoints"


@contextmanager
def known_to_live(run: Run) -> Iterator[None]:
    """Let other processes know that this one works on the run, as long as the block runs."""
    if run.id is None:
        yield
        return
    lock = FileLock(_folder() / f"{PREFIX}{run.id}.lock")
    with suppress(OSError):  # where no file can be locked, the training goes on without it
        _folder().mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def end_dead_runs(store: Store) -> None:
    """End, as KILLED, the runs that a killed process of this repository has left RUNNING.

    A run that is not in this store stays for the next training that uses its store. So do all while it is away: a
    journal cannot know which runs are in it.
    """
    if not store.answers:
        return
    for file in sorted(_folder().glob(f"{PREFIX}*.lock")):
        with suppress(Timeout, OSError), FileLock(file, timeout=0):
            run_id = file.stem.removeprefix(PREFIX)
            if store.ask(partial(_end, store, run_id)):
                file.unlink(missing_ok=True)


def _end(store: Store, run_id: str, client: Any) -> bool:
    """Whether the run is in this store. It is ended if it is still RUNNING."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    if found.info.status == "RUNNING":
        Run(store, run_id, Run(store, found.data.tags.get(PARENT_ID))).finish("KILLED")
    return True
