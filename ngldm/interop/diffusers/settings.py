"""The settings of a `Scheduler`, between the words of diffusers and those of ngldm."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypedDict

from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError, unknown
from ngldm.noise import make_noise
from ngldm.sampling.best import Scalar
from ngldm.sampling.names import require_fraction
from ngldm.sampling.options import SamplingOptions

Settings = Mapping[str, str | float | None]
OBJECTIVES = {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "u"}  # diffusers' word: ours
SCHEDULES = {"linear": "linear", "scaled_linear": "quadratic", "squaredcos_cap_v2": "cosine"}
FOR_DIFFUSERS = ("trained_betas", "clip_sample", "timestep_spacing")
CHOSEN_ELSEWHERE = ("method", "num_inference_steps", "own")
OF_CLASSES = ("classes", "guidance_scale", "guidance_rescale", "guidance_sigma_min", "guidance_sigma_max")


class Arguments(TypedDict, total=False):
    """The arguments of `Scheduler`."""

    num_train_timesteps: int
    schedule: Mapping[str, object]
    noise: Mapping[str, object]
    prediction_type: str
    method: str
    diffusion: Settings
    sampling: Settings


def make_diffusion(
    num_train_timesteps: int,
    schedule: str | Mapping[str, object],
    noise: str | Mapping[str, object],
    prediction_type: str,
    settings: Settings,
) -> Diffusion:
    """The diffusion of a scheduler's arguments.

    Raises:
        InputError: on a value that is not allowed.
    """
    if prediction_type not in OBJECTIVES:
        raise unknown("prediction_type", prediction_type, OBJECTIVES)
    of_schedule: dict[str, Any] = {"name": schedule} if isinstance(schedule, str) else dict(schedule)
    of_noise: dict[str, Any] = {"name": noise} if isinstance(noise, str) else dict(noise)
    rest: dict[str, Any] = dict(settings)
    made = make_schedule(num_train_timesteps=num_train_timesteps, **of_schedule)
    return Diffusion.make(make_noise(**of_noise), made, objective=OBJECTIVES[prediction_type], **rest)


def make_options(method: str, settings: Settings) -> SamplingOptions:
    """The sampler of a scheduler's arguments; its number of steps is that of `set_timesteps`.

    Raises:
        InputError: the method does not have an option, or x0_handling is "range".
    """
    given: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    for key in CHOSEN_ELSEWHERE:
        if key in given:
            raise InputError(f"sampling.{key}: not an option here; the method is an argument of its own")
    for key in OF_CLASSES:
        if key in given:
            raise InputError(f"sampling.{key}: not an option of a scheduler, which does not call the network")
    if given.get("x0_handling") == "range":
        raise InputError(
            "sampling.x0_handling: 'range' needs the range of the training latents, which a scheduler does not have; "
            "use none, clip or dynamic"
        )
    common = {field.name for field in fields(SamplingOptions)}
    own = {key: given.pop(key) for key in set(given) - common}
    made = SamplingOptions(method, 1, own=own, **given)
    require_fraction("eta", float(own.get("eta", 0.0)))
    return made


def of_model(config: Mapping[str, object], options: SamplingOptions, diffusion: Diffusion) -> Arguments:
    """The arguments of the scheduler for a model file.

    Args:
        config: the model's settings; see `ngldm.Model.build`.
        options: the sampler.
        diffusion: the model's.
    """
    parts: dict[str, Any] = dict(config)
    schedule = {key: value for key, value in parts["schedule"].items() if key != "num_train_timesteps"}
    words = {ours: theirs for theirs, ours in OBJECTIVES.items()}
    left_out = (*CHOSEN_ELSEWHERE, *OF_CLASSES)
    sampling: dict[str, Scalar | None] = {
        field.name: getattr(options, field.name) for field in fields(options) if field.name not in left_out
    }
    given = {key: value for key, value in {**sampling, **options.own}.items() if value is not None}
    trained = parts["diffusion"]
    return {
        "num_train_timesteps": diffusion.schedule.num_train_timesteps,
        "schedule": schedule,
        "noise": parts["noise"],
        "prediction_type": words[diffusion.objective.target],
        "method": options.method,
        "diffusion": {key: trained[key] for key in ("forward", "coupling", "stein_head") if key in trained},
        "sampling": given,
    }


def from_diffusers(config: Mapping[str, object]) -> Arguments:
    """The arguments of `Scheduler` that mean what the configuration of a diffusers scheduler with betas means.

    The noise is Gaussian.

    Raises:
        InputError: a setting that ngldm does not have.
    """
    name = str(config["beta_schedule"])
    if config.get("trained_betas") is not None:
        raise InputError("trained_betas: given, but a schedule of ngldm has a name; leave it out")
    if name not in SCHEDULES:
        raise unknown("beta_schedule", name, SCHEDULES)
    schedule = {"name": SCHEDULES[name], "zero_terminal_snr": bool(config.get("rescale_betas_zero_snr", False))}
    if name != "squaredcos_cap_v2":
        schedule |= {key: config[key] for key in ("beta_start", "beta_end") if key in config}
    for key, refused in (("thresholding", (True,)), ("variance_type", ("learned", "learned_range"))):
        if config.get(key) in refused:
            raise InputError(f"{key}: {config[key]!r} is a setting of diffusers' scheduler that ngldm does not have")
    given: dict[str, Any] = dict(config)
    clip: Settings = {"x0_handling": "clip", "x0_limit": given.get("clip_sample_range", 1.0)}
    return {
        "num_train_timesteps": given.get("num_train_timesteps", 1000),
        "schedule": schedule,
        "prediction_type": given.get("prediction_type", "epsilon"),
        "sampling": clip if given.get("clip_sample") else {},
    }


def of_scheduler(given: Arguments) -> dict[str, object]:
    """The settings of a model file that mean what arguments of `Scheduler` do, but for its sampler.

    Args:
        given: what `from_diffusers` returns.
    """
    return {
        "noise": {"name": "gaussian", "params": {}},
        "schedule": {**given["schedule"], "num_train_timesteps": given["num_train_timesteps"]},
        "diffusion": {"objective": OBJECTIVES[given["prediction_type"]]},
    }


def for_diffusers(diffusion: Diffusion) -> dict[str, object]:
    """What diffusers' own schedulers take from the configuration of a `Scheduler`, so that they have its betas.

    Nothing for a schedule that is not variance preserving, which they cannot have.
    """
    chain = diffusion.schedule.chain
    return {} if chain is None else dict(zip(FOR_DIFFUSERS, (chain.betas[1:].tolist(), False, "trailing"), strict=True))


def ours(config: Mapping[str, object]) -> dict[str, object]:
    """The configuration of a `Scheduler` without what `for_diffusers` adds to it anew."""
    return {key: value for key, value in config.items() if key not in FOR_DIFFUSERS}
