"""The checks of params.yaml that need the noises themselves, the schedule's numbers, and therefore torch."""

from collections.abc import Mapping
from typing import Any

from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.noise.registry import make_part
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.pipeline.config.sections import DatasetParams
from ngldm.sampling.best import resolve_sampler
from ngldm.sampling.names import adds_noise
from ngldm.sampling.options import check_sampler


def check_noises(params: Params) -> None:
    """Check `noise_options` and the noises of the study, with the diffusions and samplers that they are used in.

    Raises:
        InputError: an unknown distribution, an unknown or wrong parameter, a distribution that noise cannot have, a
            diffusion that is not for it or not for the schedule, or a sampler that is wrong for this diffusion.
    """
    points = _columns(params.dataset)
    samplers = {f"sampler_options.{label}": params.sampler_options[label] for label in _used(params)}
    settings = (params.schedule.model_dump(), params.diffusion.model_dump())
    for label, options in params.noise_options.items():
        if label in params.noises:  # only the listed are trained
            _check(f"noise_options.{label}", options, points, settings, samplers)
        else:
            make_part(f"noise_options.{label}", options)
    for model in params.study_models():
        own = _columns(model.dataset or params.dataset)
        composed = (model.schedule.model_dump(), model.diffusion.model_dump())
        chosen = {f"study.samplers.{label}": options for label, options in model.samplers.items()}
        _check(f"{model.key}.noise", model.variant.noise, own, composed, chosen)


def _columns(dataset: DatasetParams) -> int:
    """Columns of points, 0 for images. Of a table, which is not read here, one."""
    if dataset.name != "points":
        return 0
    return dataset.law.dim if dataset.law else 1


def _used(params: Params) -> list[str]:
    """The samplers that will run."""
    return [*params.samplers, *([params.curve.sampler] if params.train.snapshot_every else [])]


def _check(
    key: str,
    options: Mapping[str, object],
    points: int,
    settings: tuple[dict[str, Any], dict[str, Any]],
    samplers: Mapping[str, SamplerOptions],
) -> None:
    """Check a noise with its data, schedule, diffusion and samplers.

    Args:
        key: of the noise, for the error message.
        points: columns of the items if they are points, else 0.
        settings: of the schedule and of the diffusion.
        samplers: by the key of the setting.
    """
    noise = make_part(key, options)
    try:
        if points:
            noise.check_item((points,))
        schedule = make_schedule(**settings[0])
        diffusion = Diffusion.make(noise, schedule, **settings[1])
        for name, sampler in samplers.items():
            chosen = resolve_sampler(sampler.settings(), noise.name, schedule.num_train_timesteps)
            check_sampler(diffusion, chosen["method"], adds_noise(chosen), f"{name}.method")
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
