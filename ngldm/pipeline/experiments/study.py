"""One training of the study and its scores: many samplers and sampling seeds from one set of weights."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ngldm.data.dataset import open_dataset
from ngldm.data.latents import open_cache
from ngldm.data.statistics import latent_extent
from ngldm.io.device import be_deterministic
from ngldm.io.files import atomic_directory
from ngldm.model import Model
from ngldm.networks.autoencoders.build import load_autoencoder
from ngldm.pipeline import workspace
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.sections import Fit
from ngldm.pipeline.experiments.jobs import KeptRows, Row
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
from ngldm.training.seeds import stream_seed

# A latent further from its position's middle than this many half ranges of the training data is an outlier.
OUTSIDE = 1.5


@dataclass(frozen=True)
class Score:
    """One sampler, one sampling seed.

    Attributes:
        network_calls: per image.
        value: Frechet distance to the training images in the reference's features.
        outliers: fraction of images with a latent that lies far outside all training latents, which clipping to pixels
            would hide.
    """

    sampler: str
    sample_seed: int
    network_calls: int
    value: float
    outliers: float


def train_model(
    model: Model, latents: NDArray[np.float32], config: FitSettings, seed: int, device: torch.device | str
) -> None:
    """Train the model's fresh U-Net in place and leave the averaged weights in it."""
    ema = EMA(model.unet, config.ema_decay)
    for _ in fit(model.unet, ema, Task(model.diffusion.loss, Split.of(latents)), config, seed=seed, device=device):
        pass
    model.unet.load_state_dict(ema.model.state_dict())
    model.unet.eval()


def fresh_model(build: Callable[[], Model], seed: int) -> Model:
    """A model whose weights follow from the training seed alone: every variant of a seed starts from the same ones."""
    torch.manual_seed(stream_seed(seed, "unet"))
    return build()


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
    """Latents (B, c, h, w) of the images with these seeds; `outliers` gets the number of outliers of each batch."""
    for first in range(0, len(seeds), batch_size):
        latents = sample_latents(model, seeds[first : first + batch_size], options)
        outliers.append(_count_outliers(model, latents))
        yield latents


def _count_outliers(model: Model, latents: torch.Tensor) -> int:
    low, high = model.extent.low.to(latents), model.extent.high.to(latents)
    far = (latents - (low + high) / 2.0).abs() > OUTSIDE * (high - low) / 2.0
    return int((far | ~latents.isfinite()).flatten(1).any(1).sum())


COLUMNS = (
    "variant",
    "train_seed",
    "sampler",
    "sample_seed",
    "noise",
    "forward",
    "objective",
    "network_calls",
    "value",
    "outliers",
)


def write_scores(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the study's folder with its table, sorted by variant, seeds and sampler, whole or not at all."""
    with atomic_directory(path) as folder, (folder / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: [str(row[column]) for column in COLUMNS[:4]]))


@dataclass(frozen=True)
class Job:
    """What a job depends on, besides latents, autoencoder and reference.

    Attributes:
        settings: noise, schedule, diffusion, unet: of the model.
        samplers: label to options of `ngldm.sampling.generator.Generator`.
        train: the training loop's settings.
        scoring: sample_seeds, num_images, batch_size.
        inception_weights: evaluate.inception_weights; only where the reference is Inception's. The file's place, which
            decides no score: the reference refuses other weights.
    """

    variant: str
    seed: int
    settings: dict[str, Any]
    samplers: Mapping[str, SamplerSettings]
    train: Fit
    scoring: dict[str, Any]
    inception_weights: str | None = None


def run_jobs(jobs: Sequence[Job], device: str, workers: int, advance: Callable[[int], None]) -> list[Row]:
    """Rows of the study's table: of jobs done before read back, of the others computed in processes side by side.

    Args:
        device: name of a torch device.
        workers: processes, of one thread each.
        advance: told of jobs done.
    """
    latents = [workspace.LATENTS / name for name in ("train.npy", "statistics.json")]
    reference = [workspace.REFERENCE / name for name in ("statistics.npz", "reference.json")]
    shared = made_from({}, [*latents, workspace.AUTOENCODER, *reference], Path(__file__))
    shared["device"] = torch.device(device).type
    rows: list[Row] = []
    todo = []
    for job in jobs:
        kept = KeptRows("study", f"{job.variant}-{job.seed}", COLUMNS, {**shared, "settings": _decided_by(job)})
        found = kept.read()
        if found is None:
            todo.append((job, kept))
        else:
            rows += found
            advance(1)
    if todo:
        with ProcessPoolExecutor(min(workers, len(todo)), mp_context=get_context("spawn")) as pool:
            for future in as_completed([pool.submit(run_job, job, kept, device) for job, kept in todo]):
                rows += future.result()
                advance(1)
    return rows


def _decided_by(job: Job) -> dict[str, Any]:
    own = {"settings": job.settings, "samplers": job.samplers, "scoring": job.scoring}
    return {**own, "seed": job.seed, "train": decisive(job.train.model_dump())}


def run_job(job: Job, kept: KeptRows, device: str) -> list[Row]:
    """Compute the rows of one job, alone in its process, and keep them."""
    torch.set_num_threads(1)  # one process per core: threads would only wait for each other
    be_deterministic()
    rows = _compute(job, device)
    kept.write(rows)
    return rows


def _compute(job: Job, device: str) -> list[Row]:
    scorer = open_scorer(
        workspace.REFERENCE, job.scoring["num_images"], inception_weights=job.inception_weights, device=device
    )
    data, cache = open_dataset(workspace.DATASET), open_cache(workspace.LATENTS)
    autoencoder = load_autoencoder(workspace.AUTOENCODER, data.image_shape)
    settings = {**job.settings, "autoencoder": autoencoder.settings, "image_shape": data.image_shape}
    extent = latent_extent(cache.train)
    model = fresh_model(lambda: Model.build(settings, autoencoder, cache.statistics, extent), job.seed).to(device)
    train_model(model, cache.train, job.train, job.seed, device)
    scores = score_samplers(model, job.samplers, scorer=scorer, **job.scoring)
    diffusion = job.settings["diffusion"]
    about = {
        "variant": job.variant,
        "train_seed": job.seed,
        "noise": job.settings["noise"]["name"],
        "forward": diffusion["forward"],
        "objective": diffusion["objective"],
    }
    return [{**about, **asdict(score)} for score in scores]
