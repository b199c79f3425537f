"""MLflow runs whose process was killed are ended by the next process that works on runs of the same repository."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from filelock import FileLock, Timeout

from ngldm.pipeline.tracking.care.living import TAG, marked, marks_of_this_store
from ngldm.pipeline.tracking.runs import PARENT_ID, Run
from ngldm.pipeline.tracking.store import Store


@contextmanager
def working_on_runs(store: Store) -> Iterator[None]:
    """End the runs that killed processes have left RUNNING, and mark those of the block, so that they are ended too."""
    if store.client is None:
        yield
        return
    end_dead_runs(store)
    with marked():
        yield


def end_dead_runs(store: Store) -> None:
    """End, as KILLED, the runs that a killed process of this repository has left RUNNING.

    While the store is away they stay: a journal cannot know which runs are in it.
    """
    if not store.answers:
        return
    for mark, file in marks_of_this_store():
        with suppress(Timeout, OSError), FileLock(file, timeout=0):
            if store.ask(partial(_end, store, mark)):
                file.unlink(missing_ok=True)


def _end(store: Store, mark: str, client: Any) -> bool:
    """End the runs with a mark, those of comparisons last. True."""
    every = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(every, f"tags.`{TAG}` = '{mark}' and attributes.status = 'RUNNING'")
    for run in sorted(found, key=lambda run: PARENT_ID not in run.data.tags):
        own = Run(store, run.info.run_id)
        if client.search_runs(every, f"tags.`{PARENT_ID}` = '{own.id}'", max_results=1):
            own.end_with_children()
        else:
            parent = run.data.tags.get(PARENT_ID)
            Run(store, own.id, Run(store, parent) if parent else None).finish("KILLED")
    return True
