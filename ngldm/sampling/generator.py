"""Images or points from a model: one seed per item, so that it does not depend on the batch that it is made in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from ngldm.diffusion.classes import Asked
from ngldm.diffusion.forward import AnnealedMarginal
from ngldm.diffusion.process import Diffusion
from ngldm.io import processes
from ngldm.io.device import Choice, free_memory, resolve_device, sent
from ngldm.io.errors import require_whole
from ngldm.io.items import Items
from ngldm.io.limits import MAX_BATCH, MAX_ITEMS, MAX_T
from ngldm.io.threads import following_free_cores
from ngldm.model import Model, load_model
from ngldm.sampling.best import Option
from ngldm.sampling.classes.choice import check_classes, guided_calls, make_guidance, of_class
from ngldm.sampling.denoiser import X0Handling, make_denoiser
from ngldm.sampling.machine.batch_size import batch_from_memory
from ngldm.sampling.machine.choice import computing
from ngldm.sampling.names import adds_noise
from ngldm.sampling.options import SamplingOptions, check_sampler
from ngldm.sampling.randomness import PerImageNoise, start_draw, start_per_image, step_law
from ngldm.sampling.samplers import annealed_ddim, denoised_at, get_sampler
from ngldm.sampling.seeds import ImageSeed, image_generators, image_seeds, require_seeds
from ngldm.sampling.stein import stein_with
from ngldm.sampling.timesteps import Callback, Step, inference_timesteps, noise_levels, spaced_by_level

Progress = bool | Callable[[int], None]  # True draws a bar; a function is told the images of each step


def sample_latents(
    model: Model, seeds: Sequence[ImageSeed], options: SamplingOptions, callback: Callback | None = None
) -> Tensor:
    """Standardised latents, one per seed, in one batch.

    Args:
        seeds: one per image (`image_seeds`); x_T and the steps' noise of an image follow from it alone.
        callback: sees each step before it is made.

    Returns:
        (len(seeds), c, h, w) float32; of points (len(seeds), d).

    Raises:
        InputError: on a value that is not allowed.
    """
    diffusion, extent, device = model.diffusion, model.extent, model.device
    timesteps = inference_timesteps(
        diffusion.schedule, options.num_inference_steps, options.timestep_spacing, options.sigma_max
    )
    sampler = _fit_sampler(diffusion, options)
    generators = image_generators(seeds)
    shape = model.autoencoder.latent_shape
    start = start_draw(options.start_noise, diffusion.forward, diffusion.schedule, extent)
    steps = options.step_noise or ("gaussian" if options.method == "stein" else "own")
    source = PerImageNoise(step_law(steps, diffusion.noise), shape, generators, device, len(timesteps))
    limit = {} if options.x0_limit is None else {"limit": options.x0_limit}
    low, high = sent(extent.low, device), sent(extent.high, device)  # here, as a step would wait for them
    handling = X0Handling(options.x0_handling, low=low, high=high, **limit)
    guidance = make_guidance(options, diffusion.predictor(model.network))
    if guidance is not None:
        guidance.require_elements(shape)
        guidance.require_used(diffusion.schedule, denoised_at(options.method, timesteps))
    network, target = diffusion.predictor(of_class(model, seeds, options)), diffusion.objective.target
    denoise = make_denoiser(network, diffusion.schedule, target, handling, diffusion.stein_head, guidance)
    with torch.inference_mode():
        x = start_per_image(start, shape, generators, device)
        return sampler(denoise, diffusion.schedule, x, source, timesteps, callback=callback, **options.own)


def _fit_sampler(diffusion: Diffusion, options: SamplingOptions) -> Callable[..., Tensor]:
    """The sampler of these options.

    Raises:
        InputError: on an unknown name, or a sampler that is wrong for this diffusion.
    """
    sampler = get_sampler(options.method)
    check_sampler(diffusion, options.method, adds_noise({"method": options.method, **options.own}))
    if options.method == "stein":
        return stein_with(diffusion.noise.colour)
    return annealed_ddim(diffusion.forward.carry) if isinstance(diffusion.forward, AnnealedMarginal) else sampler


class Generator:
    """A trained model, ready to sample. What is said of images here holds for the points of a model of points too.

    Image i of a seed depends on (seed, i) and not on the other images, up to the network's rounding, which may differ
    between batch sizes.

    The options of all methods here are those of `SamplingOptions`, such as `classes` and `guidance_scale` for a model
    with classes, and the sampler's own (eta, variance, refresh).
    Without `method`, the best known sampler of the model's noise is used.

    Args:
        model: with its networks in eval mode and on their device.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def computing(self, precision: str, layout: str, batch_size: int) -> "tuple[Generator, Choice]":
        """This generator with its network in a precision and layout, and how they were chosen; the decoder stays.

        Images differ from those of float32 by rounding: in bfloat16 by a few grey levels.

        Args:
            precision: "fp32", "bf16", or "auto": the fastest here, with its layout, by timing a few calls.
            layout: "channels_last" or "contiguous", of weights and images in memory.
            batch_size: images of a timed call.

        Raises:
            InputError: there is no such precision or layout, or a layout beside "auto"; `batch_size` is no whole
                number above 0.
        """
        require_whole("batch_size", batch_size, 1, MAX_BATCH)
        model, choice = computing(self.model, precision, layout, batch_size)
        return Generator(model), choice

    def options(self, **chosen: Option) -> SamplingOptions:
        """What the chosen options mean for this model.

        Raises:
            InputError: an unknown method, or an option that it does not have; classes that the model does not have.
        """
        diffusion = self.model.diffusion
        made = SamplingOptions.choose(diffusion.noise.name, diffusion.schedule.num_train_timesteps, chosen)
        check_classes(self.model.classes, made)
        make_guidance(made, self.model.network)  # it checks the ranges
        return made

    def labels(self, num_images: int, first: int = 0, classes: Asked | None = None) -> NDArray[np.int64] | None:
        """The classes (num_images,) of the images that `sample` makes with these arguments; None without classes.

        Raises:
            InputError: the model has no such class.
        """
        known = self.model.classes
        if known is None:
            return None
        found: NDArray[np.int64] = known.labels(range(first, first + num_images), classes).numpy()
        return found

    def network_calls(self, options: SamplingOptions) -> int:
        """Network calls per image: a guided step makes two for one."""
        return guided_calls(self.model.diffusion.schedule, options)

    def batch_size(self, num_images: int) -> int:
        """Images per network call that half of the free memory holds, at most `num_images`."""
        return batch_from_memory(self.model, num_images, free_memory(self.model.device))

    def sample(
        self,
        num_images: int,
        seed: int = 0,
        *,
        first: int = 0,
        batch_size: int | None = None,
        progress: Progress = False,
        **options: Option,
    ) -> Items:
        """Images number `first` to `first + num_images - 1` of a seed.

        Args:
            seed: of the whole set, 0 to 2^63 - 1.
            batch_size: images per network call; None is what half of the free memory holds.
            progress: True draws a bar of the steps of all images; a function is told the images of each step.

        Returns:
            (num_images, H, W, C) uint8; from a model of points (num_images, d) float32.

        Raises:
            InputError: on a value that is not allowed.
        """
        batches = self.batches(num_images, seed, first=first, batch_size=batch_size, progress=progress, **options)
        return np.concatenate([self.model.no_items(), *batches])

    def batches(
        self,
        num_images: int,
        seed: int = 0,
        *,
        first: int = 0,
        batch_size: int | None = None,
        progress: Progress = False,
        **options: Option,
    ) -> Iterator[Items]:
        """As `sample`, batch by batch, for more images than memory holds."""
        num_images, first = require_whole("num_images", num_images, 0, MAX_ITEMS), require_whole("first", first, 0)
        chosen, last = self.options(**options), first + num_images
        require_seeds(seed, first, last)
        size = (
            self.batch_size(num_images) if batch_size is None else require_whole("batch_size", batch_size, 1, MAX_BATCH)
        )
        with _told(progress, num_images * chosen.num_inference_steps) as tell, following_free_cores() as look:

            def after(step: Step) -> None:
                tell(len(step.x))
                look()

            for start in range(0, num_images, size):
                part = image_seeds(seed, first + start, min(first + start + size, last))
                yield self.model.decode(sample_latents(self.model, part, chosen, after))

    def shared_batch_size(self, num_images: int) -> int:
        """As `batch_size`, the same in all processes, and such that each has a batch to make."""
        return processes.from_main(lambda: self.batch_size(-(-num_images // processes.size())))

    def spread(
        self,
        num_images: int,
        seed: int,
        batch_size: int,
        *,
        kept: processes.Kept[Items] | None = None,
        progress: Callable[[int], None] = lambda count: None,
        **options: Option,
    ) -> Iterator[Items]:
        """As `batches`, spread over the processes. Only the main one gets them; the others must run through them too.

        Args:
            kept: where finished batches are kept; None keeps none.
            progress: told the images of each step, of all processes.

        Raises:
            InputError: on a value that is not allowed.
        """
        steps, told, done = self.options(**options).num_inference_steps, 0, 0

        def tell(count: int) -> None:
            nonlocal told
            told += count
            progress(count)

        def make(part: int) -> Items:
            first = part * batch_size
            count = min(batch_size, num_images - first)
            return self.sample(count, seed, first=first, batch_size=batch_size, progress=tell, **options)

        for batch in processes.spread(-(-num_images // batch_size), make, kept):
            done += len(batch)
            if done * steps > told:  # another process made it
                tell(done * steps - told)
            yield batch

    def trajectory(self, num_images: int, num_frames: int, seed: int = 0, **options: Option) -> Items:
        """How images emerge: decoded x_t at evenly spaced levels of noise, from pure noise to the result, in one batch.

        Args:
            num_images: images number 0 and up of the seed, at least 1.
            num_frames: at least 2; at most the sampler's steps + 1 are returned.

        Returns:
            (frames, num_images, H, W, C) uint8, or (frames, num_images, d) float32; the last frame is what `sample`
            gives. `trajectory_levels` has the levels.

        Raises:
            InputError: on a value that is not allowed.
        """
        num_images = require_whole("num_images", num_images, 1, MAX_BATCH)
        num_frames, chosen = require_whole("num_frames", num_frames, 2, MAX_T), self.options(**options)
        wanted = set(spaced_by_level(self._levels(chosen), num_frames))
        frames: list[Items] = []

        def keep(step: Step) -> None:
            if step.index in wanted:
                frames.append(self.model.decode(step.x))

        last = sample_latents(self.model, image_seeds(seed, 0, num_images), chosen, keep)
        return np.stack([*frames, self.model.decode(last)])

    def trajectory_levels(self, num_frames: int, **options: Option) -> list[float]:
        """The level of noise of each frame of `trajectory`: b_t / sqrt(a_t^2 + b_t^2), from 1, pure noise, to 0.

        Raises:
            InputError: on a value that is not allowed.
        """
        levels = self._levels(self.options(**options))
        return [levels[i] for i in spaced_by_level(levels, require_whole("num_frames", num_frames, 2, MAX_T))]

    def _levels(self, options: SamplingOptions) -> list[float]:
        """Of all states that the sampler passes, the result included."""
        schedule, spacing = self.model.diffusion.schedule, options.timestep_spacing
        timesteps = inference_timesteps(schedule, options.num_inference_steps, spacing, options.sigma_max)
        return noise_levels(schedule, timesteps)


@contextmanager
def _told(progress: Progress, total: int) -> Iterator[Callable[[int], object]]:
    """Whom to tell the images of each step."""
    if callable(progress):
        yield progress
    else:
        with tqdm(total=total, unit="step", disable=not progress) as bar:
            yield bar.update


def load(path: str | PathLike[str], device: torch.device | str = "auto") -> Generator:
    """A model file, ready to sample.

    Args:
        path: of the file that the stage `train` or `Model.save` wrote.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".

    Raises:
        InputError: no such device, no path, or a file that is missing, damaged or of another format.
    """
    return Generator(load_model(path, resolve_device(str(device))))
