"""The study's jobs. A job is one training and its scores by many samplers and sampling seeds."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ngldm.data.dataset import open_dataset
from ngldm.data.latents import open_cache
from ngldm.data.study import COLUMNS, StudyRow
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.device import be_deterministic
from ngldm.io.errors import InputError
from ngldm.model import Model, network_choice
from ngldm.noise import make_noise
from ngldm.pipeline import workspace
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.sections import Fit
from ngldm.pipeline.experiments.jobs import KeptRows
from ngldm.pipeline.experiments.models import fresh_model
from ngldm.pipeline.own_network import own_network
from ngldm.pipeline.own_noise import own_noise
from ngldm.sampling.best import SamplerSettings
from ngldm.sampling.generator import Generator, sample_latents
from ngldm.sampling.options import SamplingOptions
from ngldm.sampling.samplers import network_calls
from ngldm.sampling.seeds import ImageSeed, image_seeds
from ngldm.scoring.scorer import Scorer, open_scorer
from ngldm.training.checkpoint import decisive
from ngldm.training.config import FitSettings
from ngldm.training.ema import EMA
from ngldm.training.loop import Split, Task, fit

# At each position of a latent, the training data have a range. A value is an outlier if its distance to the middle of
# that range is more than this many half ranges.
OUTSIDE = 1.5


@dataclass(frozen=True)
class Score:
    """The score of one sampler and one sampling seed.

    Attributes:
        sampler: its label.
        network_calls: per image.
        value: Frechet distance to the training images in the reference's features.
        outliers: fraction of images with a latent far outside the range of the training latents. The images do not
            show this, because pixels are clipped.
    """

    sampler: str
    sample_seed: int
    network_calls: int
    value: float
    outliers: float


def train_model(
    model: Model, latents: NDArray[np.float32], config: FitSettings, seed: int, device: torch.device | str
) -> None:
    """Train the model's untrained network in place. Afterwards it has the averaged weights."""
    ema = EMA(model.network, config.ema_decay)
    for _ in fit(model.network, ema, Task(model.diffusion.loss, Split.of(latents)), config, seed=seed, device=device):
        pass
    model.network.load_state_dict(ema.model.state_dict())
    model.network.eval()


def score_samplers(
    model: Model,
    samplers: Mapping[str, SamplerSettings],
    sample_seeds: Sequence[int],
    num_images: int,
    batch_size: int,
    scorer: Scorer,
) -> list[Score]:
    """A `Score` for every sampler and sampling seed."""
    scores = []
    for name, chosen in samplers.items():
        options = Generator(model).options(**chosen)
        calls = network_calls(options.method, options.num_inference_steps)
        for seed in sample_seeds:
            outliers: list[int] = []  # of each batch
            value = scorer.distance(
                features
                for latents in _latent_batches(model, image_seeds(seed, 0, num_images), batch_size, options, outliers)
                for features in scorer.features(model.decode(latents), batch_size)
            )
            scores.append(Score(name, seed, calls, value, sum(outliers) / num_images))
    return scores


def _latent_batches(
    model: Model, seeds: Sequence[ImageSeed], batch_size: int, options: SamplingOptions, outliers: list[int]
) -> Iterator[torch.Tensor]:
    """Latents (B, c, h, w) of the images with these seeds. `outliers` gets the number of outliers of each batch."""
    for first in range(0, len(seeds), batch_size):
        latents = sample_latents(model, seeds[first : first + batch_size], options)
        outliers.append(_count_outliers(model, latents))
        yield latents


def _count_outliers(model: Model, latents: torch.Tensor) -> int:
    low, high = model.extent.low.to(latents), model.extent.high.to(latents)
    far = (latents - (low + high) / 2.0).abs() > OUTSIDE * (high - low) / 2.0
    return int((far | ~latents.isfinite()).flatten(1).any(1).sum())


@dataclass(frozen=True)
class Job:
    """What a job depends on, except latents, autoencoder and reference.

    Attributes:
        variant: its label.
        seed: of the training.
        settings: the model's settings, all but `autoencoder` (`ngldm.model.Model.build`).
        samplers: label to options of `ngldm.sampling.generator.Generator`.
        train: the training loop's settings.
        scoring: sample_seeds, num_images, batch_size.
        weights: of the reference's extractor, if others trained it. The choice cannot change a score, because the
            reference refuses other weights. So it is no part of the key of kept results.
    """

    variant: str
    seed: int
    settings: dict[str, Any]
    samplers: Mapping[str, SamplerSettings]
    train: Fit
    scoring: dict[str, Any]
    weights: str | None = None


def run_jobs(jobs: Sequence[Job], device: str, workers: int, advance: Callable[[int], None]) -> list[StudyRow]:
    """The rows of the study's table. Kept jobs are read back, the others are computed in parallel processes.

    Args:
        device: name of a torch device.
        workers: number of processes, with one thread each.
        advance: called with the number of jobs that are done.
    """
    for job in jobs:
        _require_sampled(job)
    latents = [workspace.LATENTS / name for name in ("train.npy", "statistics.json")]
    reference = [workspace.REFERENCE / name for name in ("statistics.npz", "reference.json")]
    shared = made_from({}, [*latents, workspace.AUTOENCODER, *reference], Path(__file__))
    shared["device"] = torch.device(device).type
    rows: list[StudyRow] = []
    todo = []
    for job in jobs:
        behind = {**shared, "settings": _decided_by(job), **own_noise(**job.settings["noise"])}
        behind |= own_network(network_choice(job.settings)[0])
        kept: KeptRows[StudyRow] = KeptRows("study", f"{job.variant}-{job.seed}", COLUMNS, behind)
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


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Processes for jobs. They end when this process ends, also if it is killed: a job may need many minutes."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _decided_by(job: Job) -> dict[str, Any]:
    own = {"settings": job.settings, "samplers": job.samplers, "scoring": job.scoring}
    return {**own, "seed": job.seed, "train": decisive(job.train.model_dump())}


def run_job(job: Job, kept: KeptRows[StudyRow], device: str) -> list[StudyRow]:
    """Compute the rows of one job in a process of its own, and keep them."""
    torch.set_num_threads(1)  # there is one process per core; more threads would only wait for each other
    be_deterministic()
    rows = _compute(job, device)
    kept.write(rows)
    return rows


def _require_sampled(job: Job) -> None:
    """Check before any training that the sampler `stein` can sample the model, if the job has it.

    Raises:
        InputError: it cannot; the message begins with the variant.
    """
    if any(options["method"] == "stein" for options in job.samplers.values()):
        noise, schedule = make_noise(**job.settings["noise"]), make_schedule(**job.settings["schedule"])
        try:
            Diffusion.make(noise, schedule, **job.settings["diffusion"]).stein_head.require_k_bar()
        except InputError as error:
            raise InputError(f"study.variants.{job.variant}: {error}") from error


def _compute(job: Job, device: str) -> list[StudyRow]:
    scorer = open_scorer(workspace.REFERENCE, job.scoring["num_images"], weights=job.weights, device=device)
    data, cache = open_dataset(workspace.DATASET), open_cache(workspace.LATENTS)
    model = fresh_model(job.settings, job.seed, data, cache).to(device)
    train_model(model, cache.train, job.train, job.seed, device)
    scores = score_samplers(model, job.samplers, scorer=scorer, **job.scoring)
    diffusion = job.settings["diffusion"]
    return [
        StudyRow(
            variant=job.variant,
            train_seed=job.seed,
            sampler=score.sampler,
            sample_seed=score.sample_seed,
            noise=job.settings["noise"]["name"],
            forward=diffusion["forward"],
            objective=diffusion["objective"],
            network_calls=score.network_calls,
            value=score.value,
            outliers=score.outliers,
        )
        for score in scores
    ]
