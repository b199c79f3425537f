"""The MLflow runs of a search: a parent for each noise, and in it a run for each trial."""

from collections.abc import Mapping
from typing import Any

from ngldm.pipeline.tracking.comparison import PARENT_TAG
from ngldm.pipeline.tracking.names import description, source_tags
from ngldm.pipeline.tracking.runs import PARENT_ID, Run
from ngldm.pipeline.tracking.store import Store, one_at_a_time

SEARCH_COMMAND = "ngldm search run"


def study_run(store: Store, name: str, key: str, tags: Mapping[str, str]) -> Run:
    """The parent of the trials of one noise. It is made if there is none.

    Args:
        name: of the study.
        key: says which study it is: another one of the same name has another.
        tags: of a new run.
    """

    def find_or_make(client: Any) -> str | None:
        with one_at_a_time():
            found = client.search_runs([store.experiment_id], f"tags.`{PARENT_TAG}` = '{key}'", max_results=1)
            if found:
                existing: str = found[0].info.run_id
                return existing
            about = description(f"The trials of the search {name}.", {}, SEARCH_COMMAND)
            return store.create_run(name, {PARENT_TAG: key, **tags, **about, **source_tags(SEARCH_COMMAND)})

    return Run(store, store.ask(find_or_make))


def trial_run(store: Store, parent: Run, name: str, run_id: str | None, values: Mapping[str, Any]) -> Run:
    """The run of a trial. A trial that is tried again keeps its run.

    Args:
        run_id: of the earlier attempt; None if there was none.
        values: what the trial has drawn.
    """
    parent.go_on()
    if run_id is not None and (run_id := store.sent_id(run_id)):
        run = Run(store, run_id, parent)
        run.go_on()
        return run
    run = Run(store, store.create_run(name, {PARENT_ID: parent.id or ""}), parent)
    run.params(values)
    return run
