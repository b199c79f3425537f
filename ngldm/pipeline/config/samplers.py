"""The parameters of a sampler in params.yaml, and what samplers need of the other sections."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from ngldm.diffusion.names import require_chain
from ngldm.io.errors import require_name
from ngldm.pipeline.config.architectures import NetworkParams
from ngldm.pipeline.config.sections import OneOf, Positive, ScheduleParams, Section, Timesteps
from ngldm.sampling.names import (
    CHAIN_SAMPLERS,
    SAMPLER_OPTIONS,
    SPACINGS,
    VARIANCES,
    X0_HANDLINGS,
    adds_noise,
    check_coupling,
    check_settings,
)

AUTO = "auto"


class SamplerOptions(Section):
    """A sampler of the comparison. Files and tables name it by its label in `samplers`."""

    method: Annotated[str, OneOf((AUTO, *SAMPLER_OPTIONS))] = Field(
        description="algorithm; auto is the best known sampler for the noise (ngldm/sampling/best.py)"
    )
    num_inference_steps: Timesteps | None = Field(default=None, description="steps, at most T")
    timestep_spacing: Annotated[str, OneOf(SPACINGS)] | None = Field(
        default=None, description="which timesteps the sampler visits; default trailing (evenly spaced, from T)"
    )
    sigma_max: Positive | None = Field(
        default=None,
        description="for timestep_spacing karras: one step skips all larger sigma; in standard deviations of the "
        "latents; default 80",
    )
    x0_handling: Annotated[str, OneOf(X0_HANDLINGS)] | None = Field(
        default=None, description="how to change a predicted x_0 outside the range of the data"
    )
    x0_limit: Positive | None = Field(
        default=None, description="bound of clip and dynamic, in standard deviations of the latents"
    )
    start_noise: str | None = Field(
        default=None,
        description="x_T: own (the model's noise), gaussian, averaged:n (mean of n own draws) or x_T (own, plus the "
        "part of the image that is left at T); default own, for discrete noise x_T",
    )
    step_noise: str | None = Field(default=None, description="noise of the steps: own, gaussian or averaged:n")
    eta: float | None = Field(
        default=None, ge=0.0, le=1.0, description="amount of noise that each step adds (ddim, stein), 0 to 1"
    )
    variance: Annotated[str, OneOf(VARIANCES)] | None = Field(default=None, description="nu^2 of each step (ancestral)")
    refresh: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="share of the noise's variance renewed per unit of log-SNR (posterior); 0 is ddim, 1 is ddim with "
        "eta 1",
    )
    guidance_scale: Annotated[float, Field(ge=0.0)] | None = Field(
        default=None,
        description="of a model with classes: x_0 is that without class + scale (that with class - that without); 1, "
        "the default, is no guidance",
    )
    guidance_rescale: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="how far the guided x_0 gets back the standard deviation of the unguided one; default 0",
    )
    guidance_sigma_min: Annotated[float, Field(ge=0.0)] | None = Field(
        default=None, description="guidance only at noise levels above this, in standard deviations of the latents"
    )
    guidance_sigma_max: Positive | None = Field(default=None, description="and only up to this; default: no bound")
    choices: dict[str, "SamplerOptions"] | None = Field(
        default=None,
        description="for auto: a map from a distribution, or `default`, to the sampler to use instead of the best "
        "known one",
    )

    @model_validator(mode="after")
    def _options_fit_method(self) -> "SamplerOptions":
        given = self.model_dump(exclude_none=True, exclude={"choices"})
        if self.method == AUTO:
            self._check_auto(given)
            return self
        if self.choices is not None:
            raise ValueError("choices: only method 'auto' has this option")
        if self.num_inference_steps is None:
            raise ValueError("num_inference_steps: missing")
        check_settings(given)
        if (self.guidance_sigma_min or 0.0) >= (self.guidance_sigma_max or math.inf):
            raise ValueError(
                f"guidance_sigma_max: {self.guidance_sigma_max} must be above guidance_sigma_min = "
                f"{self.guidance_sigma_min}"
            )
        return self

    def _check_auto(self, given: dict[str, Any]) -> None:
        if extra := sorted(given.keys() - {"method"}):
            raise ValueError(f"{extra[0]}: not an option of method 'auto'; set it in its choices")
        for name in self.choices or {}:
            require_name("choices", name)
        if any(choice.method == AUTO for choice in (self.choices or {}).values()):
            raise ValueError("choices: the method of an entry cannot be 'auto'")

    def settings(self) -> dict[str, Any]:
        """The settings that are set, for `ngldm.sampling.best.resolve_sampler`."""
        return self.model_dump(exclude_none=True)


def _entries(samplers: Mapping[str, SamplerOptions]) -> dict[str, SamplerOptions]:
    """The samplers by their key, with the choices of `auto` in its place."""
    entries: dict[str, SamplerOptions] = {}
    for label, options in samplers.items():
        choices = {f"{label}.choices.{name}": choice for name, choice in (options.choices or {}).items()}
        entries |= choices or {label: options}
    return entries


def require_right(samplers: Mapping[str, SamplerOptions], section: str, coupling: str) -> None:
    """Check that no sampler, and no choice of `auto`, adds noise where training pairs noise with images."""
    for key, entry in _entries(samplers).items():
        if entry.method != AUTO:
            noisy = adds_noise(entry.model_dump(exclude={"choices"}))
            check_coupling(coupling, entry.method, noisy, f"{section}.{key}.method")


def require_guided(samplers: Mapping[str, SamplerOptions], section: str, network: NetworkParams) -> None:
    """Check that no sampler has guidance where the network gets no classes, or never goes without one."""
    for key, entry in _entries(samplers).items():
        if entry.guidance_scale is not None and network.num_classes is None:
            raise ValueError(
                f"{section}.{key}.guidance_scale: {entry.guidance_scale}, but the network gets no classes; set "
                "network.num_classes to auto (-S classes=auto)"
            )
        if entry.guidance_scale not in (None, 1.0) and network.label_dropout == 0.0:
            raise ValueError(
                f"{section}.{key}.guidance_scale: {entry.guidance_scale} needs network.label_dropout above 0"
            )


def require_steps(
    samplers: Mapping[str, SamplerOptions], section: str, schedule: ScheduleParams, whose: str = ""
) -> None:
    """Check that no sampler, and no choice of `auto`, has more steps than the schedule."""
    most = schedule.num_train_timesteps
    for key, entry in _entries(samplers).items():
        if (entry.num_inference_steps or 0) > most:
            raise ValueError(
                f"{section}.{key}.num_inference_steps: {entry.num_inference_steps} is above "
                f"schedule.num_train_timesteps = {most}{whose}; use 1 to {most}"
            )


def require_betas(samplers: Mapping[str, SamplerOptions], section: str, schedule: ScheduleParams) -> None:
    """Check that the samplers that need a variance-preserving schedule have one."""
    for key, entry in _entries(samplers).items():
        if entry.method in CHAIN_SAMPLERS:
            require_chain(f"{section}.{key}.method: {entry.method!r}", schedule.name)
