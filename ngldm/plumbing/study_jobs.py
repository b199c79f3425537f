"""A job of the study: one training and its scores, in a process of its own, kept on disk when it is done."""

from dataclasses import asdict, dataclass
from typing import Any

from ngldm.plumbing import paths

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

    from ngldm.checkpoint import fingerprint
    from ngldm.files import read_json, sha256_file, write_json
    from ngldm.plumbing.command import be_deterministic
    from ngldm.plumbing.tracking import main_root

    torch.set_num_threads(1)  # one process per core: threads would only wait for each other
    be_deterministic()
    inputs = [paths.LATENTS / "train.npy", paths.AUTOENCODER, paths.REFERENCE / "statistics.npz"]
    content = {name: value for name, value in asdict(job).items() if name != "inception_weights"}
    key = fingerprint([content, [sha256_file(path) for path in inputs], device])
    kept = main_root() / "checkpoints" / "study" / f"{job.variant}-{job.seed}-{key[:16]}.json"
    if kept.is_file():
        rows: list[dict[str, Any]] = read_json(kept, "rows")["rows"]
        return rows
    rows = _compute(job, device)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, {"rows": rows})
    return rows


def _compute(job: Job, device: str) -> list[dict[str, Any]]:
    from types import SimpleNamespace

    from ngldm.autoencoder import load_autoencoder
    from ngldm.bundle import Bundle
    from ngldm.datasets import open_dataset
    from ngldm.extent import latent_extent
    from ngldm.features import make_extractor
    from ngldm.latents import open_cache
    from ngldm.reference import load_reference
    from ngldm.study import fresh_bundle, score_samplers, train_bundle

    data, cache = open_dataset(paths.DATASET), open_cache(paths.LATENTS)
    autoencoder = load_autoencoder(paths.AUTOENCODER, data.image_shape)
    settings = {**job.settings, "autoencoder": autoencoder.settings, "image_shape": data.image_shape}
    extent = latent_extent(cache.train)
    bundle = fresh_bundle(lambda: Bundle.build(settings, autoencoder, cache.statistics, extent), job.seed).to(device)
    train_bundle(bundle, cache.train, SimpleNamespace(**job.train), job.seed, device)
    reference = load_reference(paths.REFERENCE)
    extractor = make_extractor(
        reference.about["extractor"],
        classifier=paths.REFERENCE / "classifier.safetensors",
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
