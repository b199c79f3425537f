"""A worker of a search: it runs trials of all noises until the budget is used up. Any number may run, anywhere."""

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.errors import InputError, unknown
from ngldm.io.files import differences, fingerprint, require
from ngldm.pipeline import workspace
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.params import PARAMS_FILE, load_raw, parse_params
from ngldm.pipeline.experiments import trial as trial_code
from ngldm.pipeline.experiments.study import end_with_parent
from ngldm.pipeline.experiments.trial import INPUTS, Bench
from ngldm.pipeline.search import storage
from ngldm.pipeline.search.config import PRIOR, Search, load_search
from ngldm.pipeline.search.objective import ERROR, Objective
from ngldm.pipeline.search.space import base_content, check_space, get, present, suggest, trial_space
from ngldm.pipeline.tracking.runs import Run
from ngldm.pipeline.tracking.search import study_run
from ngldm.pipeline.tracking.store import Store
from ngldm.scoring.scorer import open_scorer

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

MADE_FROM = "made_from"
POLL = 2.0  # seconds between two looks at trials that other workers run
Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A search that has been checked.

    Attributes:
        name: of its file in conf/search.
        search: the file.
        content: of params.yaml.
        storage: path of a journal file, or URL.
        noises: labels of the noises to work on.
    """

    name: str
    search: Search
    content: dict[str, Any]
    storage: str
    noises: Sequence[str]

    def base(self, label: str) -> dict[str, Any]:
        return base_content(self.content, self.search, label)

    def study_name(self, label: str) -> str:
        return f"{self.name}-{label}"


def make_plan(name: str, storage_url: str | None, noises: Sequence[str] | None) -> Plan:
    """Check the files of a search.

    Args:
        storage_url: None is the default journal file.
        noises: labels; None is all of the search.

    Raises:
        InputError: an unknown search or noise, or a space that is not allowed.
    """
    search, content = load_search(name), load_raw(PARAMS_FILE)
    parse_params(content)
    for label in noises or ():
        if label not in search.noises:
            raise unknown("noise", label, search.noises)
    check_space(content, search)
    return Plan(name, search, content, storage_url or storage.default_storage(name), noises or list(search.noises))


def prepare(plan: Plan, grace: int) -> None:
    """Make the studies, if the files that all trials share are there.

    Raises:
        InputError: a file is missing, the storage cannot be reached, or a study was begun with others.
    """
    for path in INPUTS:
        require(path, "the stages `latents` and `reference`")
    open_studies(plan, storage.open_storage(plan.storage, grace), create=True)


def open_studies(plan: Plan, connection: "BaseStorage", create: bool) -> "dict[str, Study]":
    """The Optuna study of each noise.

    Args:
        create: make those that are missing.

    Raises:
        InputError: one was begun with other settings, data or code, or it is missing and not to be made.
    """
    import optuna

    known = {study.study_name for study in optuna.get_all_study_summaries(connection, include_best_trial=False)}
    if not create and (missing := [label for label in plan.noises if plan.study_name(label) not in known]):
        raise InputError(
            f"{storage.without_password(plan.storage)}: no study {plan.study_name(missing[0])!r}; "
            f"`ngldm search run {plan.name}` makes it"
        )
    studies = {}
    for label in plan.noises:
        study = optuna.create_study(
            study_name=plan.study_name(label),
            storage=connection,
            sampler=_optimiser(plan.search),
            pruner=_pruner(plan.search),
            load_if_exists=True,
        )
        if create:
            _require_same(study, _behind(plan, label))
        studies[label] = study
    return studies


def _behind(plan: Plan, label: str) -> dict[str, Any]:
    """All that the scores of a study depend on."""
    settings = plan.search.model_dump(exclude={*PRIOR, "noises"}, exclude_defaults=True)
    settings["noise"] = plan.search.model_dump(include={"noises"}, exclude_defaults=True)["noises"][label]
    base = plan.base(label)
    read = {key: base[key] for key in ("schedule", "diffusion", "unet", "mlp", "train", "noise_options", "evaluate")}
    return made_from({**settings, "params": read}, INPUTS, Path(trial_code.__file__))


def _require_same(study: "Study", behind: Mapping[str, Any]) -> None:
    old = study.user_attrs.get(MADE_FROM)
    if old is None:
        study.set_user_attr(MADE_FROM, behind)
    elif changed := differences(old, behind):
        raise InputError(
            f"study {study.study_name}: begun with other {', '.join(changed)}. Scores of different settings, data or "
            "code cannot be compared: use another --storage, or copy the search's file to another name"
        )


def _optimiser(search: Search) -> "BaseSampler":
    """Without a seed: two workers that drew the same values would do the same work."""
    from optuna import samplers

    if search.optimiser == "cmaes":
        return samplers.CmaEsSampler(n_startup_trials=search.startup, warn_independent_sampling=False)
    if search.optimiser == "random":
        return samplers.RandomSampler()
    return samplers.TPESampler(n_startup_trials=search.startup, group=True)


def _pruner(search: Search) -> "BasePruner":
    from optuna import pruners

    if search.halving is None:
        return pruners.NopPruner()
    return pruners.SuccessiveHalvingPruner(
        min_resource=search.halving.first, reduction_factor=search.halving.reduction, min_early_stopping_rate=0
    )


def first_values(plan: Plan, label: str) -> list[dict[str, Any]]:
    """The values of the first slots: those of params.yaml, then random ones, the same for all noises."""
    import optuna

    space, base = trial_space(plan.search, label), plan.base(label)
    values = [present(space, lambda key: get(base, key))]
    for slot in range(1, plan.search.startup):
        sampler = optuna.samplers.RandomSampler(seed=plan.search.seed + slot)
        asked = optuna.create_study(sampler=sampler).ask()
        suggest(asked, space)
        values.append(dict(asked.params))
    return values[: plan.search.startup]


def work(plan: Plan, device: str, grace: int, report: Report = print) -> None:
    """Run trials until each noise has its budget, or has failed too often.

    The next trial is of the noise that has the fewest, so that the budgets stay equal when a search is stopped early.

    Args:
        device: name of a torch device, or "auto".
        grace: seconds without a sign of life after which another worker is taken to be dead.
        report: called with a line for each trial that has ended.

    Raises:
        InputError: the storage cannot be reached, the shared files are missing, or a study was begun with others.
        KeyboardInterrupt: the user or the batch system stopped the worker; its trial waits for another.
    """
    torch.set_num_threads(1)  # there is one process per core; more threads would only wait for each other
    be_deterministic()
    sampling, evaluate = plan.search.sampling, parse_params(plan.content).evaluate
    target = str(resolve_device(device))
    scorer = open_scorer(
        *(workspace.REFERENCE, sampling.num_images),
        extractor=evaluate.extractor,
        inception_weights=evaluate.inception_weights,
        device=target,
    )
    bench = Bench(scorer, plan.search.seed, sampling.batch_size, target)
    studies = open_studies(plan, storage.open_storage(plan.storage, grace), create=True)
    worker = storage.Worker(plan.storage, grace)
    store = Store(plan.content["experiment"])
    first = {label: first_values(plan, label) for label in studies}
    with worker.alive():
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
        states = [trial.state.name for trial in study.get_trials(deepcopy=False) if storage.is_live(trial)]
        running |= "RUNNING" in states
        if "WAITING" in states:
            begun[label] = len(states) - states.count("WAITING")
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
    except ValueError as error:  # Optuna's, of a trial that is finished already
        report(f"{study.study_name}: {error}; another worker has taken over")


def _worker_process(plan: Plan, device: str, grace: int) -> None:
    end_with_parent()
    with stopped_once():
        work(plan, device, grace, lambda line: print(line, flush=True))


@contextmanager
def stopped_once() -> Iterator[None]:
    """Let Ctrl-C or SIGTERM, which batch systems send, end the block. A second one is ignored, so that it ends well."""

    def stop(number: int, frame: object) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


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
