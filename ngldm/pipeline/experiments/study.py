"""One training of the study and its scores: many samplers and sampling seeds from one set of weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ngldm.data.reference import Reference
from ngldm.diffusion.objective import diffusion_loss
from ngldm.io.files import entry
from ngldm.model import Model
from ngldm.pipeline import workspace
from ngldm.sampling.generator import SEED_STRIDE, sample_latents
from ngldm.sampling.samplers import network_calls
from ngldm.scoring.features.extractor import Extractor, extract
from ngldm.scoring.frechet import Moments, frechet_distance
from ngldm.training.ema import EMA
from ngldm.training.loop import FitConfig, Split, fit
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


def train_bundle(bundle: Model, latents: NDArray[np.float32], config: FitConfig, seed: int, device: Any) -> None:
    """Train the bundle's fresh U-Net in place and leave the averaged weights in it."""
    ema = EMA(bundle.unet, config.ema_decay)
    split = Split(len(latents), lambda index: torch.from_numpy(latents[index]))

    def loss(net: Any, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return diffusion_loss(net, bundle.schedule, bundle.forward, batch, generator, bundle.objective)

    for _ in fit(bundle.unet, ema, loss, split, config, seed=seed, device=device):
        pass
    bundle.unet.load_state_dict(ema.model.state_dict())
    bundle.unet.eval()


def fresh_bundle(build: Callable[[], Model], seed: int) -> Model:
    """A bundle whose weights follow from the training seed alone: every variant of a seed starts from the same ones."""
    torch.manual_seed(stream_seed(seed, "unet"))
    return build()


def score_samplers(
    bundle: Model,
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


def _count_outliers(bundle: Model, latents: torch.Tensor) -> int:
    low, high = bundle.extent.low.to(latents), bundle.extent.high.to(latents)
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


@dataclass(frozen=True)
class Job:
    """What a job depends on, besides latents, autoencoder and reference.

    Attributes:
        settings: noise, schedule, diffusion, unet: of the bundle.
        samplers: label to arguments of `ngldm.generate.sample_latents`.
        train: the training loop's settings.
        scoring: sample_seeds, num_images, batch_size.
        inception_weights: evaluate.inception_weights; only where the reference is Inception's. The file's place, which
            decides no score: the reference refuses other weights.
    """

    variant: str
    seed: int
    settings: dict[str, Any]
    samplers: dict[str, dict[str, Any]]
    train: dict[str, Any]
    scoring: dict[str, Any]
    inception_weights: str | None = None


def run_job(job: Job, device: str) -> list[dict[str, Any]]:
    """Rows of the study's table, computed or, where the same job was done before, read back."""
    import torch

    from ngldm.io.device import be_deterministic
    from ngldm.io.files import fingerprint, read_json, sha256_file, write_json
    from ngldm.pipeline.workspace import main_root

    torch.set_num_threads(1)  # one process per core: threads would only wait for each other
    be_deterministic()
    inputs = [workspace.LATENTS / "train.npy", workspace.AUTOENCODER, workspace.REFERENCE / "statistics.npz"]
    content = {name: value for name, value in asdict(job).items() if name != "inception_weights"}
    key = fingerprint([content, [sha256_file(path) for path in inputs], device])
    kept = main_root() / "checkpoints" / "study" / f"{job.variant}-{job.seed}-{key[:16]}.json"
    if kept.is_file():
        rows: list[dict[str, Any]] = entry(read_json(kept), "rows", list)
        return rows
    rows = _compute(job, device)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, {"rows": rows})
    return rows


def _compute(job: Job, device: str) -> list[dict[str, Any]]:
    from types import SimpleNamespace

    from ngldm.data.dataset import open_dataset
    from ngldm.data.latents import open_cache
    from ngldm.data.reference import load_reference
    from ngldm.data.statistics import latent_extent
    from ngldm.model import Model
    from ngldm.networks.autoencoders.build import load_autoencoder
    from ngldm.scoring.features.extractor import make_extractor

    data, cache = open_dataset(workspace.DATASET), open_cache(workspace.LATENTS)
    autoencoder = load_autoencoder(workspace.AUTOENCODER, data.image_shape)
    settings = {**job.settings, "autoencoder": autoencoder.settings, "image_shape": data.image_shape}
    extent = latent_extent(cache.train)
    bundle = fresh_bundle(lambda: Model.build(settings, autoencoder, cache.statistics, extent), job.seed).to(device)
    train_bundle(bundle, cache.train, SimpleNamespace(**job.train), job.seed, device)
    reference = load_reference(workspace.REFERENCE)
    extractor = make_extractor(
        entry(reference.about, "extractor", str),
        classifier=workspace.REFERENCE / "classifier.safetensors",
        inception=job.inception_weights,
        device=device,
    )
    reference.require_extractor(extractor.weights_sha256)
    scores = score_samplers(bundle, job.samplers, extractor=extractor, reference=reference, **job.scoring)
    diffusion = job.settings["diffusion"]
    about = {
        "variant": job.variant,
        "train_seed": job.seed,
        "noise": job.settings["noise"]["name"],
        "forward": diffusion["forward"],
        "objective": diffusion["objective"],
    }
    return [{**about, **asdict(score)} for score in scores]
