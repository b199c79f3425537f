"""The checks of params.yaml that need the noises themselves, the schedule's numbers, and therefore torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from ngldm.data.sources.names import image_shape
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.networks.autoencoders.names import OWN_KEYS
from ngldm.noise import Law, make_noise
from ngldm.noise.registry import make_part
from ngldm.pipeline.config.dataset.section import DatasetParams
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.sampling.best import resolve_sampler
from ngldm.sampling.names import adds_noise
from ngldm.sampling.options import check_sampler


def check_noises(params: Params) -> None:
    """Check `noise_options` and the noises of the study, with the diffusions and samplers that they are used in.

    Raises:
        InputError: an unknown distribution, an unknown or wrong parameter, a distribution that noise cannot have, a law
            that does not fit the shape of the latents, a diffusion that is not for it or not for the schedule, or a
            sampler that is wrong for this diffusion.
    """
    item = _item(params, params.dataset)
    samplers = {f"sampler_options.{label}": params.sampler_options[label] for label in _used(params)}
    settings = (params.schedule.model_dump(), params.diffusion.model_dump())
    for label, options in params.noise_options.items():
        if label in params.noises:  # only the listed are trained
            _check(f"noise_options.{label}", options, item, settings, samplers)
        else:
            make_part(f"noise_options.{label}", options)
    for model in params.study_models():
        own = _item(params, model.dataset or params.dataset)
        composed = (model.schedule.model_dump(), model.diffusion.model_dump())
        chosen = {f"study.samplers.{label}": options for label, options in model.samplers.items()}
        _check(f"{model.key}.noise", model.variant.noise, own, composed, chosen)


def require_noise(params: Params, label: str, file: Path, found: Law) -> None:
    """Check that a model is of the noise whose name its samples get.

    Args:
        label: of the training.
        file: of the model.
        found: its noise.

    Raises:
        InputError: it is of another noise, as where two files were exchanged.
    """
    law = make_noise(**params.noise_arguments(params.training(label).noise))
    if (found.name, dict(found.params)) != (law.name, dict(law.params)):
        own, named = (" ".join([one.name, *(f"{k}={v}" for k, v in one.params.items())]) for one in (found, law))
        raise InputError(f"{file}: its noise is {own}, but params.yaml says {named}; run the stage `train` again")


def latent_shape(params: Params, dataset: DatasetParams | None = None) -> tuple[int, ...] | None:
    """(c, h, w) of the latents of images, (d,) of points. None where that is in a file, which is not read yet.

    So it is with a table of points, a pretrained autoencoder, and one's own kinds of autoencoders.

    Args:
        dataset: a variant's own; None takes that of the params.

    Raises:
        InputError: the autoencoder does not fit the images.
    """
    dataset = dataset or params.dataset
    if dataset.name == "points":
        return (dataset.law.dim,) if dataset.law else None
    if params.autoencoder.kind not in OWN_KEYS:
        return None
    image = image_shape(dataset.name, dataset.size, dataset.channels)
    with torch.device("meta"):  # no weights are made
        return build_autoencoder(params.autoencoder.settings(), image).latent_shape


def _item(params: Params, dataset: DatasetParams) -> tuple[int, ...] | Literal["columns", "any"]:
    """The shape of a latent, or what is not known of it: the number of columns of points, or all of it."""
    return latent_shape(params, dataset) or ("columns" if dataset.name == "points" else "any")


def _used(params: Params) -> list[str]:
    """The samplers that will run."""
    return [*params.samplers, *([params.curve.sampler] if params.train.snapshot_every else [])]


def _check(
    key: str,
    options: Mapping[str, object],
    item: tuple[int, ...] | Literal["columns", "any"],
    settings: tuple[dict[str, Any], dict[str, Any]],
    samplers: Mapping[str, SamplerOptions],
) -> None:
    """Check a noise with its data, schedule, diffusion and samplers.

    Args:
        key: of the noise, for the error message.
        item: the shape of a latent; or "columns": points of any number of columns, "any": any shape.
        settings: of the schedule and of the diffusion.
        samplers: by the key of the setting.
    """
    noise = make_part(key, options)
    try:
        if item == "columns":
            item = getattr(noise, "leading", ())[:1] or (1,)
        if item != "any":
            noise.check_item(item)
        schedule = make_schedule(**settings[0])
        diffusion = Diffusion.make(noise, schedule, **settings[1])
        for name, sampler in samplers.items():
            chosen = resolve_sampler(sampler.settings(), noise.name, schedule.num_train_timesteps)
            check_sampler(diffusion, chosen["method"], adds_noise(chosen), f"{name}.method")
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
