"""One training of the study and its scores: many samplers and sampling seeds from one set of weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ngldm.bundle import Bundle
from ngldm.diffusion import diffusion_loss
from ngldm.ema import EMA
from ngldm.features import Extractor, extract
from ngldm.frechet import Moments, frechet_distance
from ngldm.generate import SEED_STRIDE, sample_latents
from ngldm.reference import Reference
from ngldm.samplers import network_calls
from ngldm.training import FitConfig, Split, fit, stream_seed

OUTSIDE = (
    1.5  # a latent further from its position's middle than this many half ranges of the training data is an outlier
)


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


def train_bundle(bundle: Bundle, latents: NDArray[np.float32], config: FitConfig, seed: int, device: Any) -> None:
    """Train the bundle's fresh U-Net in place and leave the averaged weights in it."""
    ema = EMA(bundle.unet, config.ema_decay)
    split = Split(len(latents), lambda index: torch.from_numpy(latents[index]))

    def loss(net: Any, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return diffusion_loss(net, bundle.schedule, bundle.forward, batch, generator, bundle.objective)

    for _ in fit(bundle.unet, ema, loss, split, config, seed=seed, device=device):
        pass
    bundle.unet.load_state_dict(ema.model.state_dict())
    bundle.unet.eval()


def fresh_bundle(build: Callable[[], Bundle], seed: int) -> Bundle:
    """A bundle whose weights follow from the training seed alone: every variant of a seed starts from the same ones."""
    torch.manual_seed(stream_seed(seed, "unet"))
    return build()


def score_samplers(
    bundle: Bundle,
    samplers: Mapping[str, Mapping[str, Any]],
    sample_seeds: Sequence[int],
    num_images: int,
    batch_size: int,
    extractor: Extractor,
    reference: Reference,
) -> list[Score]:
    """A `Score` for every sampler and sampling seed."""
    scores = []
    for name, options in samplers.items():
        calls = network_calls(options["method"], options["num_inference_steps"])
        for seed in sample_seeds:
            moments, outliers = Moments(extractor.dim), 0
            for first in range(0, num_images, batch_size):
                last = min(first + batch_size, num_images)
                seeds = [seed * SEED_STRIDE + index for index in range(first, last)]
                latents = sample_latents(bundle, seeds, **options)
                outliers += _count_outliers(bundle, latents)
                for features in extract(extractor, bundle.decode(latents), batch_size, lambda count: None):
                    moments.update(features)
            value = frechet_distance(reference.mu, reference.sigma, moments.mean, moments.cov)
            scores.append(Score(name, seed, calls, value, outliers / num_images))
    return scores


def _count_outliers(bundle: Bundle, latents: torch.Tensor) -> int:
    low, high = bundle.extent.low.to(latents), bundle.extent.high.to(latents)
    far = (latents - (low + high) / 2.0).abs() > OUTSIDE * (high - low) / 2.0
    return int((far | ~latents.isfinite()).flatten(1).any(1).sum())
