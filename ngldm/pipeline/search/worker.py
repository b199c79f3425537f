"""A worker of a search: it runs trials of all noises until the budget is used up. Any number may run, anywhere."""

import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import torch

from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.errors import InputError
from ngldm.io.files import fingerprint
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.experiments.study.run import end_with_parent
from ngldm.pipeline.experiments.trial import Bench
from ngldm.pipeline.search import storage
from ngldm.pipeline.search.objective import ERROR, Objective
from ngldm.pipeline.search.studies import MADE_FROM, Plan, first_values, open_studies
from ngldm.pipeline.signals import Stopped, ends_well
from ngldm.pipeline.tracking.dead import working_on_runs
from ngldm.pipeline.tracking.runs import Run
from ngldm.pipeline.tracking.search import study_run
from ngldm.pipeline.tracking.store import Store
from ngldm.scoring.distance.scorer import open_scorer

if TYPE_CHECKING:
    from optuna import Study

POLL = 2.0  # seconds between two looks at trials that other workers run
Report = Callable[[str], None]


def work(plan: Plan, device: str, grace: int, report: Report = print) -> None:
    """Run trials until each noise has its budget, or has failed too often.

    The next trial is of the noise that has the fewest, so that the budgets stay equal when a search is stopped early.

    Args:
        device: name of a torch device, or "auto".
        grace: seconds without a sign of life after which another worker is taken to be dead.
        report: called with a line for each trial that has ended.

    Raises:
        InputError: the storage cannot be reached, or is lost; the shared files are missing; a study was begun with
            others.
        KeyboardInterrupt: the user or the batch system stopped the worker; its trial waits for another.
    """
    torch.set_num_threads(1)  # there is one process per core; more threads would only wait for each other
    be_deterministic()
    sampling, evaluate = plan.search.sampling, parse_params(plan.content).evaluate
    target = str(resolve_device(device))
    scorer = open_scorer(
        *(workspace.REFERENCE, sampling.num_images),
        extractor=evaluate.extractor,
        weights=evaluate.weights,
        device=target,
    )
    bench = Bench(scorer, plan.search.seed, sampling.batch_size, target)
    studies = open_studies(plan, storage.open_storage(plan.storage, grace), create=True)
    worker = storage.Worker(plan.storage, grace)
    store = Store(plan.content["experiment"])
    first = {label: first_values(plan, label) for label in studies}
    with storage.needed(plan.storage), worker.alive(), working_on_runs(store):
        while True:
            label, running = _next(plan, studies, first, worker)
            if label is not None:
                parent = _parent(store, plan, studies[label], label)
                objective = Objective(plan.name, label, plan.search, plan.base(label), bench, parent, worker.id)
                _run_one(studies[label], objective, report)
            elif running:  # one of their workers may die
                time.sleep(POLL * random.uniform(0.5, 1.5))
            else:
                break


def _parent(store: Store, plan: Plan, study: "Study", label: str) -> Run:
    key = fingerprint(["search", study.study_name, study.user_attrs[MADE_FROM]])[:16]
    return study_run(store, study.study_name, key, {"search": plan.name, "noise": label})


def _next(
    plan: Plan, studies: "dict[str, Study]", first: Mapping[str, list[dict[str, Any]]], worker: storage.Worker
) -> tuple[str | None, bool]:
    """The noise whose trial is run next, None if no trial waits; and whether other workers are running trials."""
    begun: dict[str, int] = {}
    running = False
    for label, study in studies.items():
        worker.bury_dead(study)
        storage.fill(study, first[label], plan.search.trials, plan.search.attempts)
        live = [trial for trial in study.get_trials(deepcopy=False) if storage.is_live(trial)]
        waiting = [trial for trial in live if trial.state.name == "WAITING"]
        running |= any(trial.state.name == "RUNNING" for trial in live)
        if any(trial.user_attrs[storage.SLOT] < plan.search.trials for trial in waiting):  # `trials` was lowered
            begun[label] = len(live) - len(waiting)
    return min(begun, key=begun.__getitem__, default=None), running


def _run_one(study: "Study", objective: Objective, report: Report) -> None:
    """Run the next waiting trial. A result that comes too late, because the worker was taken to be dead, is dropped."""

    def tell(study: "Study", trial: Any) -> None:
        attributes = trial.user_attrs
        if storage.DROPPED in attributes or storage.IMPOSSIBLE in attributes:
            return
        name = f"{study.study_name} trial {attributes.get(storage.SLOT)}"
        if trial.state.name == "FAIL":
            report(f"{name}: failed ({attributes.get(ERROR)})")
        else:
            steps = attributes.get("steps")
            how = "complete" if trial.state.name == "COMPLETE" else attributes.get("ended")
            value = "-" if trial.value is None else f"{trial.value:.4g}"
            report(f"{name}: {value} after {steps} steps, {how}, {attributes['cpu_seconds']:.0f} CPU seconds")

    try:
        study.optimize(objective, n_trials=1, catch=(Exception,), callbacks=[tell])
    except json.JSONDecodeError:  # of a journal that is damaged
        raise
    except ValueError as error:  # Optuna's, of a trial that is finished already
        report(f"{study.study_name}: {error}; another worker has taken over")


def _worker_process(plan: Plan, device: str, grace: int) -> None:
    end_with_parent()
    with ends_well():
        try:
            work(plan, device, grace, lambda line: print(line, flush=True))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            raise SystemExit(2) from None
        except Stopped as stop:
            raise SystemExit(128 + stop.number) from None


def work_together(plan: Plan, device: str, grace: int, workers: int) -> None:
    """Run workers in processes of their own. If one is killed, the others go on and take over its trial.

    Raises:
        InputError: all have ended before the search was done.
    """
    spawn = get_context("spawn").Process
    processes = [spawn(target=_worker_process, args=(plan, device, grace)) for _ in range(workers)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()
            process.join()
        raise
    codes = [process.exitcode for process in processes]
    if all(codes):
        raise InputError(f"no worker has ended well; their exit codes are {codes}")
