"""The table of the best known samplers. `method: auto` uses it."""

from collections.abc import Mapping, Sequence
from typing import Required, TypedDict, cast

Scalar = str | float
Option = Scalar | Sequence[str | int]  # the value of one sampling option, as the user gives it; `classes` are several


class SamplerSettings(TypedDict, total=False):
    """Keyword arguments of `ngldm.sampling.options.SamplingOptions`, which explains each of them."""

    method: Required[str]
    num_inference_steps: Required[int]
    timestep_spacing: str
    sigma_max: float
    x0_handling: str
    x0_limit: float
    start_noise: str
    step_noise: str
    eta: float
    variance: str
    refresh: float
    guidance_scale: float
    guidance_rescale: float
    guidance_sigma_min: float
    guidance_sigma_max: float


class RequestSettings(SamplerSettings, total=False):
    """The options of a request to a served model. `classes` is the name or the number of one class."""

    classes: str


_KARRAS_20 = SamplerSettings(method="dpmpp_2m", num_inference_steps=20, timestep_spacing="karras")
# The results are in docs/study.md. Each used the start noise that fits its distribution
# (`ngldm.sampling.randomness.start_draw`). Noises that are not listed get `default`.
BEST_SAMPLERS = {
    "default": _KARRAS_20,
    "annealed": SamplerSettings(method="ddim", num_inference_steps=25, timestep_spacing="karras"),  # only ddim is right
}


def best_sampler(noise: str, num_train_timesteps: int = 1000) -> SamplerSettings:
    """The best known sampler for a noise, among those with at most 25 network calls.

    Args:
        noise: a distribution's registered name.
        num_train_timesteps: T of the model. The sampler makes at most T steps.
    """
    settings = BEST_SAMPLERS.get(noise, BEST_SAMPLERS["default"]).copy()
    settings["num_inference_steps"] = min(settings["num_inference_steps"], num_train_timesteps)
    return settings


def resolve_sampler(settings: Mapping[str, object], noise: str, num_train_timesteps: int) -> SamplerSettings:
    """A sampler's settings in the form that `SamplingOptions` takes.

    With method "auto", the result is the sampler for the noise. With other methods, it is `settings` unchanged.

    Args:
        settings: checked settings. With method "auto" they may have `choices`, a map from distribution to settings. Its
            entry for this noise is used. If there is none, its entry `default` is used. If there is none either, the
            table of best known samplers is used.
        noise: a distribution's registered name.
        num_train_timesteps: T of the model.
    """
    if settings["method"] != "auto":
        return cast(SamplerSettings, dict(settings))
    choices = cast(Mapping[str, SamplerSettings], settings.get("choices") or {})
    chosen = choices.get(noise, choices.get("default"))
    return chosen.copy() if chosen else best_sampler(noise, num_train_timesteps)
