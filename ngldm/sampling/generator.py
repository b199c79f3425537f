"""Images from a bundle: one seed per image, so that an image does not depend on the batch that it is made in."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array
from ngldm.model import Model
from ngldm.sampling.names import check_settings
from ngldm.sampling.randomness import PerImageNoise, start_draw, start_per_image, step_draw
from ngldm.sampling.samplers import Callback, Step, get_sampler
from ngldm.sampling.timesteps import inference_timesteps

SEED_STRIDE = 10_000_019  # image i of seed s draws from generator seed s * stride + i: distinct up to ten million
MAX_SEED = 10**12 - 1  # an image's own seed must fit the 64 bits of torch's generators


def sample_latents(
    bundle: Model,
    seeds: Sequence[int],
    *,
    method: str = "ddim",
    num_inference_steps: int,
    timestep_spacing: str = "trailing",
    sigma_max: float | None = None,
    x0_handling: str = "none",
    x0_limit: float = 3.0,
    start_noise: str | None = None,
    step_noise: str | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> Tensor:
    """Standardised latents, one per seed, in one batch.

    Args:
        seeds: one per image; x_T and the steps' noise of an image follow from its seed alone.
        method, options: a sampler's name and its own arguments (`ngldm.samplers`).
        timestep_spacing, sigma_max: see `ngldm.sampling.timesteps`.
        x0_handling, x0_limit: see `ngldm.denoiser.X0Handling`.
        start_noise, step_noise: see `ngldm.sampling.randomness`.

    Returns:
        (len(seeds), c, h, w) float32.

    Raises:
        InputError: on a value that is not allowed.
    """
    spacing = {"timestep_spacing": timestep_spacing, "sigma_max": sigma_max}
    check_settings({"method": method, **spacing, "start_noise": start_noise, "step_noise": step_noise, **options})
    sampler = get_sampler(method)
    timesteps = inference_timesteps(bundle.schedule, num_inference_steps, timestep_spacing, sigma_max)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = bundle.autoencoder.latent_shape
    start = start_draw(start_noise, bundle.forward, bundle.schedule, bundle.extent)
    source = PerImageNoise(step_draw(step_noise or "own", bundle.noise), shape, generators, bundle.device)
    with torch.inference_mode():
        x = start_per_image(start, shape, generators, bundle.device)
        denoise = bundle.denoiser(x0_handling, limit=x0_limit)
        return sampler(denoise, bundle.schedule, x, source, timesteps, callback=callback, **options)


def generate(
    bundle: Model,
    num_images: int,
    *,
    seed: int = 0,
    first: int = 0,
    **options: Any,
) -> UInt8Array:
    """Images number `first` to `first + num_images - 1` of a seed, in one batch.

    Image i depends on (seed, i) and not on its neighbours, up to the network's rounding, which may differ between batch
    sizes.

    Args:
        num_images: of this batch.
        seed: of the whole set, 0 to `MAX_SEED`.
        options: as for `sample_latents`: method, num_inference_steps, eta, callback, ...

    Returns:
        (num_images, H, W, C) uint8.

    Raises:
        InputError: on a value that is not allowed.
    """
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"seed: {seed} must lie between 0 and {MAX_SEED}")
    seeds = [seed * SEED_STRIDE + index for index in range(first, first + num_images)]
    return bundle.decode(sample_latents(bundle, seeds, **options))


def generate_batches(
    bundle: Model,
    num_images: int,
    batch_size: int,
    progress: Callable[[int], None] = lambda count: None,
    **options: Any,
) -> Iterator[UInt8Array]:
    """`generate` in batches of at most `batch_size`. `progress` is told the images of each network call."""
    for first in range(0, num_images, batch_size):
        count = min(batch_size, num_images - first)
        yield generate(bundle, count, first=first, callback=partial(_advance, progress, count), **options)


def _advance(progress: Callable[[int], None], count: int, step: Step) -> None:
    progress(count)


def trajectory(bundle: Model, num_images: int, num_frames: int, **options: Any) -> UInt8Array:
    """How images emerge: decoded x_t at evenly spaced steps, from pure noise to the result.

    Args:
        num_images: images number 0 and up.
        num_frames: at least 2; at most the sampler's steps + 1 are returned.
        options: as for `generate`; num_inference_steps among them.

    Returns:
        (frames, num_images, H, W, C) uint8; the last frame is what `generate` gives.
    """
    steps = options["num_inference_steps"]
    wanted = set(np.linspace(0, steps, min(num_frames, steps + 1)).round().astype(int).tolist())
    frames: list[UInt8Array] = []

    def keep(step: Step) -> None:
        if step.index in wanted:
            frames.append(bundle.decode(step.x))

    last = generate(bundle, num_images, callback=keep, **options)
    return np.stack([*frames, last])
