"""A model of ngldm as a diffusers pipeline: the images of `ngldm.load(...).sample`, bit for bit."""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import cast

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from torch import Tensor

from ngldm.interop.diffusers.denoiser import Denoiser
from ngldm.interop.diffusers.folder import write_code
from ngldm.interop.diffusers.scheduler import METHODS, Scheduler
from ngldm.interop.diffusers.settings import OF_CLASSES, of_model
from ngldm.io.errors import InputError, require_whole
from ngldm.io.items import Items, are_points
from ngldm.model import Model
from ngldm.sampling.best import Option, best_sampler
from ngldm.sampling.classes.choice import check_classes, make_guidance
from ngldm.sampling.denoiser import Denoise
from ngldm.sampling.generator import Generator
from ngldm.sampling.names import MAX_SEED
from ngldm.sampling.options import SamplingOptions
from ngldm.sampling.randomness import PerImageNoise, start_draw, start_per_image, step_law
from ngldm.sampling.seeds import image_generators, image_seeds

OUTPUTS = ("pil", "np", "pt")


class Pipeline(DiffusionPipeline):  # type: ignore[misc]  # mypy does not read diffusers
    """Images, or points, from a model of ngldm.

    Args:
        model: network, autoencoder and statistics.
        scheduler: noise law, schedule and sampler; diffusers' schedulers that add no noise work too.
    """

    model_cpu_offload_seq = "model"

    def __init__(self, model: Denoiser, scheduler: Scheduler) -> None:
        super().__init__()
        self.register_modules(model=model, scheduler=scheduler)

    @classmethod
    def of(cls, model: Model, **options: Option) -> "Pipeline":
        """The pipeline of a model.

        Args:
            options: of `ngldm.sampling.options.SamplingOptions`; without `method` the best known sampler of the noise.

        Raises:
            InputError: an option that is not allowed, or a sampler that diffusers' schedulers cannot be: it makes two
                network calls per step (heun), or is right for Gaussian noise alone (ancestral, posterior).
        """
        if of_call := sorted(options.keys() & set(OF_CLASSES)):
            raise InputError(f"{of_call[0]}: not a setting of a pipeline; give it when you call the pipeline")
        chosen = Generator(model).options(**options)
        if chosen.method not in METHODS:
            raise InputError(f"method: {chosen.method!r} is not for diffusers; use one of: {', '.join(METHODS)}")
        scheduler = Scheduler(**of_model(model.config, chosen, model.diffusion))
        return cls(Denoiser.of(model), scheduler)

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str], **options: str | bool | torch.dtype) -> "Pipeline":
        """A pipeline that `save_pretrained` or `ngldm export` wrote, with the code of this package.

        Args:
            folder: or the id of a repository on a hub.
            options: of diffusers' `from_pretrained`, such as `revision`, `token` and `torch_dtype`.
        """
        denoiser = Denoiser.from_pretrained(folder, subfolder="model", **options)
        of_scheduler = {key: value for key, value in options.items() if key != "torch_dtype"}
        return cls(denoiser, Scheduler.from_pretrained(folder, subfolder="scheduler", **of_scheduler))

    def save_pretrained(self, save_directory: str | PathLike[str], **options: str | bool) -> None:
        """Write the folder, with the files of code that `DiffusionPipeline.from_pretrained` asks for."""
        super().save_pretrained(save_directory, **options)
        write_code(Path(save_directory))

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        num_inference_steps: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        seed: int | None = None,
        **more: Option,
    ) -> ImagePipelineOutput | tuple[Items | Tensor]:
        """Images number `first` to `first + batch_size - 1` of a seed, in one batch.

        Args:
            generator: on the CPU. One draws the seed; a list has one for each image, which makes its noise. If there is
                no seed either, torch's own draws the seed.
            num_inference_steps: 1 to T; None is that of the best known sampler of the noise.
            output_type: "pil", "np" (float32 (B, H, W, C) in [0, 1]) or "pt" (float32 (B, C, H, W) in [0, 1]). Points
                are always an array: float32 (B, d).
            seed: 0 to 2^63 - 1, instead of a generator.
            more: `first`, 0 if not given; of a model with classes also `classes`, `guidance_scale`, `guidance_rescale`,
                `guidance_sigma_min` and `guidance_sigma_max` of `ngldm.sampling.options.SamplingOptions`.

        Raises:
            InputError: on a value that is not allowed.
        """
        if output_type not in OUTPUTS:
            raise InputError(f"output_type: {output_type!r} is not one of: {', '.join(OUTPUTS)}")
        count = require_whole("batch_size", batch_size, 1)
        first = require_whole("first", more.pop("first", 0), 0)
        generators = _generators(count, generator, seed, first)
        options = self._options(num_inference_steps, more)
        classes = self.model.model.classes
        labels = None if classes is None else classes.labels(range(first, first + count), options.classes)
        latents = self._sample(generators, options, labels)
        images = _in_form(self.model.model.decode(latents.to(self.model.dtype)), output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images) if return_dict else (images,)

    def _options(self, num_inference_steps: int | None, of_classes: Mapping[str, Option]) -> SamplingOptions:
        """The scheduler's options with those of a call.

        Raises:
            InputError: an unknown key, or a value that is not allowed; classes or guidance that the model or the
                scheduler does not have.
        """
        if unknown := sorted(of_classes.keys() - set(OF_CLASSES)):
            raise InputError(f"{unknown[0]}: unknown argument; known beside the others: first, {', '.join(OF_CLASSES)}")
        model, ours = self.model.model, isinstance(self.scheduler, Scheduler)
        name, last = model.diffusion.noise.name, model.diffusion.schedule.num_train_timesteps
        usual = best_sampler(name, last)["num_inference_steps"]
        steps = usual if num_inference_steps is None else num_inference_steps
        base = self.scheduler.options if ours else SamplingOptions("ddim", 1)
        options = replace(base, num_inference_steps=steps, **of_classes)
        check_classes(model.classes, options)
        if options.guidance_scale is not None and not ours:
            raise InputError("guidance_scale: needs the scheduler of ngldm; those of diffusers do not call the network")
        return options

    def _sample(self, generators: list[torch.Generator], options: SamplingOptions, labels: Tensor | None) -> Tensor:
        """Standardised latents, one per generator, of these classes (B,)."""
        model, device = self.model.model, self._execution_device
        diffusion, shape = model.diffusion, model.autoencoder.latent_shape
        labels = None if labels is None else labels.to(device)
        self.scheduler.set_timesteps(options.num_inference_steps, device=device)
        noise = step_law(options.step_noise or ("gaussian" if options.method == "stein" else "own"), diffusion.noise)
        source = PerImageNoise(noise, shape, generators, device, len(self.scheduler.timesteps))
        denoise = self._guided(options, labels)
        x = start_per_image(
            start_draw(options.start_noise, diffusion.forward, diffusion.schedule, model.extent),
            shape,
            generators,
            device,
        )
        own = {"variance_noise": source} if isinstance(self.scheduler, Scheduler) else {}
        for t in self.progress_bar(self.scheduler.timesteps):
            if denoise is not None:
                x = self.scheduler.advance(denoise(x, int(t) + 1), t, x, source)
                continue
            output = self.model(self.scheduler.scale_model_input(x, t), t, labels).sample
            x = self.scheduler.step(output, t, x, **own).prev_sample
        return x

    def _guided(self, options: SamplingOptions, labels: Tensor | None) -> Denoise | None:
        """The network with guidance towards these classes (B,); None if no guidance is asked for."""

        def unconditional(x: Tensor, steps: Tensor) -> Tensor:
            return cast(Tensor, self.model(x, steps - 1).sample)

        def conditional(x: Tensor, steps: Tensor) -> Tensor:
            return cast(Tensor, self.model(x, steps - 1, labels).sample)

        guidance = make_guidance(options, unconditional)
        if guidance is None:
            return None
        model = self.model.model
        guidance.require_elements(model.autoencoder.latent_shape)
        guidance.require_used(model.diffusion.schedule, (self.scheduler.timesteps + 1).tolist())
        return cast(Denoise, self.scheduler.denoiser(conditional, guidance))


def _generators(
    count: int, given: torch.Generator | list[torch.Generator] | None, seed: int | None, first: int
) -> list[torch.Generator]:
    """A generator for each image.

    Raises:
        InputError: both a seed and generators are given, or not as many generators as images.
    """
    if seed is not None and given is not None:
        raise InputError("seed, generator: give one of them")
    if isinstance(given, list):
        if len(given) != count:
            raise InputError(f"generator: {len(given)} for {count} images; give one for each")
        return given
    if seed is None:
        seed = int(torch.randint(MAX_SEED, (), generator=given))
    return image_generators(image_seeds(seed, first, first + count))


def _in_form(items: Items, output_type: str) -> Items | Tensor:
    """uint8 images (B, H, W, C) as the output type; points as they are."""
    if are_points(items):
        return items
    images = torch.from_numpy(items).float().div(255.0)
    if output_type == "pt":
        return images.permute(0, 3, 1, 2)
    array = images.numpy()
    return cast(Items, Pipeline.numpy_to_pil(array)) if output_type == "pil" else array
