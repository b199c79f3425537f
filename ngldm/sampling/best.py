"""The one table of best known samplers, which `method: auto` reads."""

from collections.abc import Mapping
from typing import Required, TypedDict, cast

Option = str | float  # one choice of sampling, as a user gives it


class SamplerSettings(TypedDict, total=False):
    """Keyword arguments of `ngldm.sampling.options.SamplingOptions`, where each is explained."""

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


_KARRAS_20 = SamplerSettings(method="dpmpp_2m", num_inference_steps=20, timestep_spacing="karras")
# As docs/study.md found, each from the start that suits its noise (`ngldm.sampling.randomness.start_draw`). Noises that
# are not here get `default`.
BEST_SAMPLERS = {"default": _KARRAS_20}


def best_sampler(noise: str, num_train_timesteps: int = 1000) -> SamplerSettings:
    """The sampler of at most 25 network calls that suits a noise best, as far as we know.

    Args:
        noise: a distribution's registered name.
        num_train_timesteps: T of the model; a sampler makes no more steps than that.
    """
    settings = BEST_SAMPLERS.get(noise, BEST_SAMPLERS["default"]).copy()
    settings["num_inference_steps"] = min(settings["num_inference_steps"], num_train_timesteps)
    return settings


def resolve_sampler(settings: Mapping[str, object], noise: str, num_train_timesteps: int) -> SamplerSettings:
    """A sampler's settings as `SamplingOptions` takes them: themselves, or, with method `auto`, what suits the noise.

    Args:
        settings: checked ones. With method "auto" they may have `choices`, distribution to settings: its entry for this
            noise, or else its entry `default`, comes before the table of best samplers.
        noise: a distribution's registered name.
        num_train_timesteps: T of the model.
    """
    if settings["method"] != "auto":
        return cast(SamplerSettings, dict(settings))
    choices = cast(Mapping[str, SamplerSettings], settings.get("choices") or {})
    chosen = choices.get(noise, choices.get("default"))
    return chosen.copy() if chosen else best_sampler(noise, num_train_timesteps)
