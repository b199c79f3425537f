"""What the report shows beyond the stages' own figures: reconstructions, moments, Theorem 1, seconds, provenance.

Cheap by construction: seconds on two cores, whatever the data set.
"""

import csv
import os
import subprocess
from collections.abc import Callable
from typing import Any

from ngldm.autoencoder import load_autoencoder
from ngldm.datasets import open_dataset
from ngldm.files import read_json, require
from ngldm.forward import FORWARDS
from ngldm.images import UInt8Array, grid, to_float, to_uint8
from ngldm.latents import open_cache
from ngldm.noise import Noise, make_noise
from ngldm.plumbing import paths
from ngldm.plumbing.params import Params
from ngldm.schedules import make_schedule
from ngldm.theorem import kurtosis_left, theorem1_ratio

Row = dict[str, Any]
THEOREM_COLUMNS = ("noise", "forward", "steps", "ratio", "std_error", "rms_ratio", "rms_std_error", "kurtosis_left")
THEOREM_STEPS = (1, 3, 10, 30, 100, 300, 1000)
THEOREM_VALUES = 30_000  # latent values carried to x_T: the chain of 1000 steps then takes a second at most
DRAWS = 100_000


def read_history(noise: str) -> list[Row]:
    """A training's reports: step, loss, heldout_loss (None where it was not evaluated)."""
    with require(paths.train_plot(noise)).open(newline="") as file:
        return [
            {
                "step": int(row["step"]),
                "loss": float(row["loss"]),
                "heldout_loss": float(row["heldout_loss"]) if row["heldout_loss"] else None,
            }
            for row in csv.DictReader(file)
        ]


def reconstructions(count: int = 16, target: int = 48) -> UInt8Array:
    """The first test images above what the autoencoder makes of them, as one uint8 picture (H, W, C)."""
    import torch

    data = open_dataset(paths.DATASET)
    model = load_autoencoder(paths.AUTOENCODER, data.image_shape)
    originals = data.test[:count]
    with torch.no_grad():
        decoded = to_uint8(model.decode(model.encode(to_float(originals))))
    import numpy as np

    both = np.concatenate([originals, decoded])
    scale = max(1, -(-target // both.shape[1]))
    return grid(both.repeat(scale, axis=1).repeat(scale, axis=2), len(originals), padding=2)


def make_noises(params: Params) -> dict[str, Noise]:
    """Label to distribution, for the noises compared."""
    return {label: make_noise(**params.noise_arguments(label)) for label in params.noises}


def draw(noises: dict[str, Noise], seed: int = 0) -> dict[str, Any]:
    """DRAWS float64 values of each noise."""
    import torch

    return {
        label: noise.sample((DRAWS,), torch.Generator().manual_seed(seed), dtype=torch.float64)
        for label, noise in noises.items()
    }


def moments(noises: dict[str, Noise], draws: dict[str, Any]) -> list[Row]:
    """Per noise and moment the pair (exact, of the draws)."""
    rows = []
    for label, noise in noises.items():
        x = draws[label]
        z = (x - noise.mean) / noise.variance**0.5
        sampled = {
            "mean": x.mean(),
            "variance": ((x - noise.mean) ** 2).mean(),
            "skewness": (z**3).mean(),
            "excess kurtosis": (z**4).mean() - 3.0,
        }
        exact = (noise.mean, noise.variance, noise.skewness, noise.excess_kurtosis)
        cells = {key: (e, float(s)) for e, (key, s) in zip(exact, sampled.items(), strict=True)}
        rows.append({"noise": label, **cells})
    return rows


def densities(noises: dict[str, Noise], limit: float = 4.0) -> dict[str, tuple[Any, Any]]:
    """(x, density) within the limit, of the noises that have one in closed form."""
    import torch

    x = torch.linspace(-limit, limit, 801, dtype=torch.float64)
    known = {k: n for k, n in noises.items() if n.base.function("log_prob") and not n.base.discrete}
    return {label: (x.numpy(), noise.log_prob(x).exp().numpy()) for label, noise in known.items()}


def measure_theorem(
    latents: Any,
    noises: dict[str, Noise],
    steps: list[int],
    schedule: dict[str, Any],
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Row]:
    """Theorem 1's ratio for each noise, forward process and T.

    Args:
        latents: (N, ...) standardised, N >= 2.
        noises: label to noise.
        schedule: arguments of `make_schedule`; its number of timesteps gives way to each of `steps`.
        advance: called with 1 after each ratio.
    """
    rows = []
    for label, noise in noises.items():
        for forward in FORWARDS:
            for count in steps:
                betas = make_schedule(**{**schedule, "num_train_timesteps": count})
                found = theorem1_ratio(latents, noise, betas, forward, seed)
                left = kurtosis_left(betas) if forward == "markov" else 1.0
                values = (found.mean, found.std_error, found.rms, found.rms_std_error, left)
                rows.append(dict(zip(THEOREM_COLUMNS, (label, forward, count, *values), strict=True)))
                advance(1)
    return rows


def theorem_rows(params: Params, noises: dict[str, Noise]) -> tuple[list[Row], tuple[int, ...]]:
    """Theorem 1's ratio of every noise but the Gaussian itself, for T up to the pipeline's; and a latent's shape.

    Few latents where they are large: their distances then vary the less.
    """
    import torch

    cache = open_cache(paths.LATENTS)
    shape = tuple(cache.train.shape[1:])
    size = 1
    for side in shape:
        size *= side
    count = min(len(cache.train), max(16, THEOREM_VALUES // size))
    last = params.schedule.num_train_timesteps
    steps = sorted({t for t in THEOREM_STEPS if t < last} | {min(last, THEOREM_STEPS[-1])})
    others = {label: noise for label, noise in noises.items() if noise.name != "gaussian"}
    latents = torch.from_numpy(cache.train[:count].copy())
    return measure_theorem(latents, others, steps, params.schedule.model_dump()), shape


def stage_seconds(params: Params) -> list[tuple[str, float]]:
    """(stage, seconds) of every stage that measures its time, in the pipeline's order."""
    files = {
        "download": paths.DOWNLOAD_METRICS,
        "autoencoder": paths.AUTOENCODER_METRICS,
        "latents": paths.LATENTS_METRICS,
        "reference": paths.REFERENCE_METRICS,
    }
    pairs = [(noise, sampler) for noise in params.noises for sampler in params.samplers]
    files |= {f"train@{noise}": paths.train_metrics(noise) for noise in params.noises}
    files |= {f"sample@{noise}-{sampler}": paths.sample_metrics(noise, sampler) for noise, sampler in pairs}
    files |= {f"evaluate@{noise}-{sampler}": paths.evaluate_metrics(noise, sampler) for noise, sampler in pairs}
    files |= {"curve": paths.CURVE_METRICS, "study": paths.STUDY_METRICS}
    found = []
    for stage, file in files.items():
        for key, value in (read_json(file) if file.is_file() else {}).items():
            if key.endswith("seconds"):
                found.append((stage, float(value)))
    return found


def provenance() -> str:
    """The commit that the working tree stands on, whether it was changed, and DVC's name of the experiment."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "HEAD")
    if not commit:
        return "no git repository"
    changed = " with uncommitted changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    experiment = os.environ.get("DVC_EXP_NAME")
    return commit + changed + (f", DVC experiment {experiment}" if experiment else "")
