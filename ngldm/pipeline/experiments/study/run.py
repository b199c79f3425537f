"""The study's jobs: planned from the params, and run in parallel processes.

Each model with each training seed is a job. Kept ones are read back (`jobs.py`), the others computed (`compute.py`).
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from ngldm.data.dataset import open_dataset
from ngldm.data.results.study import COLUMNS, StudyRow
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.device import be_deterministic
from ngldm.io.errors import InputError
from ngldm.model import item_settings, network_choice
from ngldm.noise import make_noise
from ngldm.pipeline import workspace
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.sections import EvaluateParams
from ngldm.pipeline.config.study import StudyParams
from ngldm.pipeline.config.variants import StudyModel
from ngldm.pipeline.experiments.jobs import KeptRows
from ngldm.pipeline.experiments.study.compute import Job, compute_rows
from ngldm.pipeline.experiments.study.inputs import Inputs
from ngldm.pipeline.memory import enough_memory
from ngldm.pipeline.own_network import own_network
from ngldm.pipeline.own_noise import own_noise
from ngldm.sampling.best import resolve_sampler
from ngldm.scoring.further.points import point_score_names
from ngldm.scoring.further.scores import available_scores, choose_scores
from ngldm.training.checkpoints.decisive import decisive

Settings = Mapping[str, object]


def make_jobs(
    study: StudyParams, models: Sequence[StudyModel], networks: Mapping[str, Settings], evaluate: EvaluateParams
) -> list[Job]:
    """The jobs of the study. If points get further scores, the training points of each data set come first.

    Args:
        networks: the arguments of `ngldm.model.item_settings`, by name.
        evaluate: has the settings of scores.

    Raises:
        InputError: data are missing, or have no such score.
    """
    shapes = {model.label: _item_shape(model) for model in models}
    scores = {model.label: _scores(study.scores, model, shapes[model.label]) for model in models}
    first: dict[str, StudyModel] = {}  # of each data set
    for model in models:
        if study.scores and len(shapes[model.label]) == 1:
            first.setdefault(model.train_set, model)
    jobs = []
    for seed in study.training_seeds():
        for label, model in [*first.items(), *((model.label, model) for model in models)]:
            trained = label not in first
            job = Job(
                variant=label,
                seed=seed,
                settings=_settings(model, shapes[model.label], networks) if trained else None,
                samplers=_samplers(model) if trained else {},
                train=model.train,
                scoring=study.scoring(),
                weights=evaluate.weights,
                dataset=model.own_dataset(seed),
                scores=scores[model.label],
                neighbours=evaluate.neighbours,
            )
            jobs.append(job)
    return jobs


def _settings(model: StudyModel, item_shape: tuple[int, ...], networks: Mapping[str, Settings]) -> dict[str, Any]:
    return {
        "noise": model.noise(),
        "schedule": model.schedule.model_dump(),
        "diffusion": model.diffusion.model_dump(),
        **item_settings(item_shape, **networks),
    }


def _samplers(model: StudyModel) -> dict[str, Any]:
    known = (model.noise()["name"], model.schedule.num_train_timesteps)
    return {label: resolve_sampler(options.settings(), *known) for label, options in model.samplers.items()}


def _item_shape(model: StudyModel) -> tuple[int, ...]:
    if model.dataset is not None and model.dataset.law is not None:
        return (model.dataset.law.dim,)
    return open_dataset(workspace.DATASET).item_shape


def _scores(wanted: Sequence[str], model: StudyModel, item_shape: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the further scores of a model. If none is wanted, the reference is not read."""
    if not wanted:
        return ()
    if model.dataset is not None and model.dataset.law is not None:
        available = point_score_names(model.dataset.law.dim, len(model.dataset.law.weights))
    else:
        available = available_scores(workspace.FURTHER, len(item_shape) == 1)
    return choose_scores(wanted, available, "study.scores")


def run_jobs(jobs: Sequence[Job], device: str, workers: int, advance: Callable[[int], None]) -> list[StudyRow]:
    """The rows of the study's table. Kept jobs are read back, the others are computed in parallel processes.

    Args:
        device: name of a torch device.
        workers: number of processes, with one thread each.
        advance: called with the number of jobs that are done.
    """
    for job in jobs:
        _require_sampled(job)
    rows: list[StudyRow] = []
    todo = []
    for job, behind in zip(jobs, _made_from(jobs, device), strict=True):
        columns = (*COLUMNS, "further")
        kept: KeptRows[StudyRow] = KeptRows("study", f"{job.variant}-{job.seed}", columns, behind)
        found = kept.read()
        if found is None:
            todo.append((job, kept))
        else:
            rows += found
            advance(1)
    if todo:
        with worker_pool(min(workers, len(todo))) as pool:
            for future in as_completed([pool.submit(run_job, job, kept, device) for job, kept in todo]):
                rows += future.result()
                advance(1)
    return rows


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes for jobs. They end when this process ends, also if it is killed: a job may need many minutes."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin_worker) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            for process in active_children():  # else the pool would wait for the jobs that run
                process.terminate()
            raise


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one ends the others
    end_with_parent()


def end_with_parent() -> None:
    """Let this process, which multiprocessing started, end when its parent does."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _made_from(jobs: Sequence[Job], device: str) -> list[dict[str, Any]]:
    """For each job everything that its rows depend on."""
    inputs = Inputs()
    shared = inputs.files() if any(job.dataset is None for job in jobs) else []
    further = [inputs.further] if any(job.scores and job.dataset is None for job in jobs) else []
    behind = made_from({}, [*shared, *further], Path(__file__))
    found = []
    for job in jobs:
        used = [] if job.dataset is not None else [*shared, *(further if job.scores else ())]
        own = {**behind, "inputs": {path.as_posix(): behind["inputs"][path.as_posix()] for path in used}}
        code = _own_code(job.settings) if job.settings else {}
        found.append({**own, "device": torch.device(device).type, "settings": _decided_by(job), **code})
    return found


def _own_code(settings: Mapping[str, Any]) -> dict[str, Any]:
    return own_noise(**settings["noise"]) | own_network(network_choice(settings)[0])


def _decided_by(job: Job) -> dict[str, Any]:
    """The settings of a job. Those of points of its own and of further scores are there only if it has them."""
    own: dict[str, Any] = {"settings": job.settings, "samplers": job.samplers, "scoring": job.scoring}
    if job.dataset is not None:
        own["dataset"] = job.dataset
    if job.scores:
        own |= {"scores": list(job.scores), "neighbours": job.neighbours}
    return {**own, "seed": job.seed, "train": decisive(job.train.model_dump())}


def run_job(job: Job, kept: KeptRows[StudyRow], device: str) -> list[StudyRow]:
    """Compute the rows of one job in a process of its own, and keep them."""
    torch.set_num_threads(1)  # there is one process per core; more threads would only wait for each other
    be_deterministic()
    with enough_memory(f"study {job.variant}", "study.batch_size, study.workers or the variant's train.batch_size"):
        rows = compute_rows(job, device)
    kept.write(rows)
    return rows


def _require_sampled(job: Job) -> None:
    """Check before any training that the sampler `stein` can sample the model, if the job has it.

    Raises:
        InputError: it cannot; the message begins with the variant.
    """
    if job.settings and any(options["method"] == "stein" for options in job.samplers.values()):
        noise, schedule = make_noise(**job.settings["noise"]), make_schedule(**job.settings["schedule"])
        try:
            Diffusion.make(noise, schedule, **job.settings["diffusion"]).stein_head.require_k_bar()
        except InputError as error:
            raise InputError(f"study.variants.{job.variant}: {error}") from error
