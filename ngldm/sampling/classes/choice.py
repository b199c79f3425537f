"""The classes and the guidance that a sampler's options ask of a model."""

from collections.abc import Sequence

from ngldm.diffusion.classes import Classes, given
from ngldm.diffusion.preconditioning import Network
from ngldm.diffusion.schedules import Schedule
from ngldm.io.device import sent
from ngldm.io.errors import InputError
from ngldm.model import Model
from ngldm.sampling.classes.guidance import Guidance
from ngldm.sampling.names import GUIDANCE
from ngldm.sampling.options import SamplingOptions
from ngldm.sampling.samplers import denoised_at
from ngldm.sampling.seeds import ImageSeed
from ngldm.sampling.timesteps import inference_timesteps


def check_classes(classes: Classes | None, options: SamplingOptions) -> None:
    """Check that a model has the classes that the options ask for, and that it can be guided.

    Raises:
        InputError: it cannot, or there is no such class.
    """
    asked = "guidance_scale" if options.guidance_scale is not None else "classes"
    if classes is None:
        if options.guidance_scale is not None or options.classes is not None:
            raise InputError(f"{asked}: the model has no classes; train one with network.num_classes auto")
        return
    if options.classes is not None:
        classes.numbers(options.classes)
    if options.guidance_scale not in (None, 1.0) and classes.label_dropout == 0.0:
        raise InputError(
            f"guidance_scale: {options.guidance_scale}, but the model was trained with network.label_dropout 0 and "
            "knows no prediction without a class; use 1, or train it with 0.1"
        )


def make_guidance(options: SamplingOptions, unconditional: Network) -> Guidance | None:
    """The guidance of the options; None if there is none.

    Args:
        unconditional: see `Guidance`.

    Raises:
        InputError: a value is out of range.
    """
    if options.guidance_scale is None:
        return None
    chosen = {key.removeprefix("guidance_"): getattr(options, key) for key in GUIDANCE}
    given = {key: value for key, value in chosen.items() if value is not None}
    return Guidance(unconditional, options.guidance_scale, **given)


def guided_calls(schedule: Schedule, options: SamplingOptions) -> int:
    """Network calls per image: a guided step makes two for one.

    Raises:
        InputError: a value is out of range.
    """
    steps = inference_timesteps(schedule, options.num_inference_steps, options.timestep_spacing, options.sigma_max)
    asked, guidance = denoised_at(options.method, steps), make_guidance(options, lambda x, t: x)  # it is not called
    return len(asked) + (0 if guidance is None else sum(guidance.applies(schedule, t) for t in asked))


def of_class(model: Model, seeds: Sequence[ImageSeed], options: SamplingOptions) -> Network:
    """The network for the classes of the images with these seeds; of a model without classes the network as it is.

    Raises:
        InputError: the model has no classes, or not those that are asked for.
    """
    check_classes(model.classes, options)
    if model.classes is None:
        return model.network
    labels = model.classes.labels([index for _, index in seeds], options.classes)
    return given(model.network, sent(labels, model.device))
