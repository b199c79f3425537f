"""The parameters of a sampler in params.yaml."""

import math
from typing import Annotated, Any

from pydantic import Field, model_validator

from ngldm.io.errors import require_name
from ngldm.pipeline.config.sections import OneOf, Positive, Section, Timesteps
from ngldm.sampling.names import SAMPLER_OPTIONS, SPACINGS, VARIANCES, X0_HANDLINGS, check_settings

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
