"""One job of the study: a training and its scores by many samplers and sampling seeds."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ngldm.data.cache.latents import open_cache
from ngldm.data.dataset import open_dataset
from ngldm.data.results.study import StudyRow
from ngldm.io.errors import InputError
from ngldm.io.items import Items
from ngldm.model import Model
from ngldm.pipeline.config.sections import Fit
from ngldm.pipeline.experiments.models import fresh_model, training_task
from ngldm.pipeline.experiments.study.inputs import Inputs, job_inputs
from ngldm.sampling.best import SamplerSettings
from ngldm.sampling.generator import Generator, sample_latents
from ngldm.sampling.options import SamplingOptions
from ngldm.sampling.seeds import ImageSeed, image_seeds
from ngldm.scoring.distance.scorer import Scorer, open_scorer
from ngldm.scoring.further.scores import further_scores
from ngldm.training.config import FitSettings
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Task

FurtherScores = Callable[[Items, torch.Tensor], dict[str, float]]  # of items and their features
NOTHING = "-"  # in the row of the training points, which no model made

# At each position of a latent, the training data have a range. A value is an outlier if its distance to the middle of
# that range is more than this many half ranges.
OUTSIDE = 1.5


@dataclass(frozen=True)
class Score:
    """The score of one sampler and one sampling seed.

    Attributes:
        sampler: its label.
        network_calls: per image.
        value: Frechet distance to the training images in the reference's features; NaN if images are not finite.
        outliers: fraction of images with a latent far outside the range of the training latents. The images do not
            show this, because pixels are clipped.
        further: other scores by name.
    """

    sampler: str
    sample_seed: int
    network_calls: int
    value: float
    outliers: float
    further: dict[str, float] = field(default_factory=dict)


def train_model(model: Model, task: Task[Any], config: FitSettings, seed: int, device: str) -> None:
    """Train the model's untrained network in place. Afterwards it has the averaged weights."""
    ema = EMA(model.network, config.ema_decay)
    for _ in fit(model.network, ema, task, config, seed=seed, device=device):
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
    further: FurtherScores | None = None,
) -> list[Score]:
    """A `Score` for every sampler and sampling seed. `further` gives further scores.

    A set that holds NaN or infinite numbers has diverged. Its score is NaN and it has no further scores: leaving such
    images out would make a sampler look better than it is.
    """
    scores = []
    for name, chosen in samplers.items():
        options = Generator(model).options(**chosen)
        calls = Generator(model).network_calls(options)
        for seed in sample_seeds:
            outliers: list[int] = []  # of each batch
            latents = _latent_batches(model, image_seeds(seed, 0, num_images), batch_size, options, outliers)
            try:
                value, others = _scores(_decoded(model, latents), batch_size, scorer, further)
            except _Diverged:
                value, others = math.nan, {}
                for _ in latents:  # so that the outliers are those of all images
                    pass
            scores.append(Score(name, seed, calls, value, sum(outliers) / num_images, others))
    return scores


class _Diverged(Exception):
    """Images hold NaN or infinite numbers."""


def _decoded(model: Model, latents: Iterable[torch.Tensor]) -> Iterator[Items]:
    """Items of batches of latents.

    Raises:
        _Diverged: some are not finite.
    """
    for batch in latents:
        try:
            items = model.decode(batch)
        except InputError as error:  # its only cause
            raise _Diverged from error
        yield items


def _scores(
    batches: Iterable[Items], batch_size: int, scorer: Scorer, further: FurtherScores | None
) -> tuple[float, dict[str, float]]:
    """The Frechet distance of a set of items, and its further scores. Only these need the whole set in memory."""
    kept: list[tuple[Items, torch.Tensor]] = []

    def features() -> Iterator[torch.Tensor]:
        for items in batches:
            found = list(scorer.features(items, batch_size))
            if further is not None:
                kept.append((items, torch.cat(found)))
            yield from found

    value = scorer.distance(features())
    if further is None:
        return value, {}
    return value, further(np.concatenate([items for items, _ in kept]), torch.cat([part for _, part in kept]))


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
        settings: the model's settings, all but `autoencoder` (`ngldm.model.Model.build`). None trains nothing: the
            training items themselves are scored, as if they had been generated.
        samplers: label to options of `ngldm.sampling.generator.Generator`.
        train: the training loop's settings.
        scoring: sample_seeds, num_images, batch_size.
        weights: of the reference's extractor, if others trained it. The choice cannot change a score, because the
            reference refuses other weights. So it is no part of the key of kept results.
    """

    variant: str
    seed: int
    settings: dict[str, Any] | None
    samplers: Mapping[str, SamplerSettings]
    train: Fit
    scoring: dict[str, Any]
    weights: str | None = None
    dataset: dict[str, Any] | None = None
    scores: tuple[str, ...] = ()
    neighbours: int = 3


def compute_rows(job: Job, device: str) -> list[StudyRow]:
    """Train the job's model and score it: a row for each sampler and sampling seed."""
    with job_inputs(job.dataset, job.scoring["batch_size"]) as inputs:
        data = open_dataset(inputs.dataset)
        scorer = open_scorer(inputs.reference, job.scoring["num_images"], weights=job.weights, device=device)
        further = _further(job, inputs, scorer)
        if job.settings is None:
            value, others = _scores([np.asarray(data.train)], job.scoring["batch_size"], scorer, further)
            return [_row(job, Score(NOTHING, 0, 0, value, 0.0, others))]
        cache = open_cache(inputs.latents)
        model = fresh_model(job.settings, job.seed, data, cache, inputs.autoencoder).to(device)
        train_model(model, training_task(model, data, cache), job.train, job.seed, device)
        scores = score_samplers(model, job.samplers, scorer=scorer, further=further, **job.scoring)
        return [_row(job, score) for score in scores]


def _further(job: Job, inputs: Inputs, scorer: Scorer) -> FurtherScores | None:
    """The job's further scores as a function of generated items and their features, if it has any."""
    if not job.scores:
        return None

    def compute(items: Items, features: torch.Tensor) -> dict[str, float]:
        real = scorer.reference.features
        return further_scores(inputs.further, items, features, real, job.neighbours, job.scores)

    return compute


def _row(job: Job, score: Score) -> StudyRow:
    settings = job.settings or {"noise": {"name": NOTHING}, "diffusion": {"forward": NOTHING, "objective": NOTHING}}
    return StudyRow(
        variant=job.variant,
        train_seed=job.seed,
        sampler=score.sampler,
        sample_seed=score.sample_seed,
        noise=settings["noise"]["name"],
        forward=settings["diffusion"]["forward"],
        objective=settings["diffusion"]["objective"],
        network_calls=score.network_calls,
        value=score.value,
        outliers=score.outliers,
        further=score.further,
    )
