"""Images from a bundle: one seed per image, so that an image does not depend on the batch that it is made in."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from ngldm.bundle import Bundle
from ngldm.images import UInt8Array
from ngldm.samplers import Callback, PerImageNoise, Step, get_sampler

SEED_STRIDE = 10_000_019  # image i of seed s draws from generator seed s * stride + i: distinct up to ten million


def generate(
    bundle: Bundle,
    num_images: int,
    *,
    seed: int = 0,
    first: int = 0,
    method: str = "ddim",
    callback: Callback | None = None,
    **options: Any,
) -> UInt8Array:
    """Images number `first` to `first + num_images - 1` of a seed, in one batch.

    Image i depends on (seed, i) and not on its neighbours, up to the network's rounding, which may differ between batch
    sizes.

    Args:
        num_images: of this batch.
        seed: of the whole set.
        method: a sampler's name.
        callback: sees each step.
        options: the sampler's, e.g. num_inference_steps, eta.

    Returns:
        (num_images, H, W, C) uint8.
    """
    seeds = [seed * SEED_STRIDE + index for index in range(first, first + num_images)]
    source = PerImageNoise(bundle.noise, bundle.autoencoder.latent_shape, seeds, bundle.device)
    with torch.inference_mode():
        latents = get_sampler(method)(bundle.unet, bundle.schedule, source, callback=callback, **options)
    return bundle.decode(latents)


def generate_batches(
    bundle: Bundle,
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


def trajectory(bundle: Bundle, num_images: int, num_frames: int, **options: Any) -> UInt8Array:
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
