"""The parts of params.yaml that describe samplers, and the study that compares them."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from ngldm.pipeline.config.sections import Positive, Section

NOISE_CHOICE = r"own|gaussian|averaged:[1-9][0-9]*"
StepNoise = Annotated[str, Field(pattern=rf"^({NOISE_CHOICE})$")]
StartNoise = Annotated[str, Field(pattern=rf"^({NOISE_CHOICE}|x_T)$")]
OWN_OPTIONS = {
    "ancestral": {"variance", "step_noise"},
    "ddim": {"eta", "step_noise"},
    "posterior": {"refresh", "step_noise"},
    "heun": set[str](),
    "dpmpp_2m": set[str](),
}


class SamplerOptions(Section):
    """One sampler of the comparison; the label in `samplers` is its name in files and tables."""

    method: Literal["auto", "ancestral", "ddim", "dpmpp_2m", "heun", "posterior"] = Field(
        description="algorithm; auto: the one that `choices` has for the noise"
    )
    num_inference_steps: PositiveInt | None = Field(default=None, description="steps, at most T")
    timestep_spacing: Literal["trailing", "linear", "quadratic", "karras"] | None = Field(
        default=None, description="which timesteps are visited; trailing (even, from T) unless said"
    )
    x0_handling: Literal["none", "clip", "dynamic", "range"] | None = Field(
        default=None, description="what is done to a predicted x_0 that no data would have"
    )
    x0_limit: Positive | None = Field(
        default=None, description="bound of clip and dynamic, in deviations of the latents"
    )
    start_noise: StartNoise | None = Field(
        default=None, description="x_T: own (the model's), gaussian, averaged:n (mean of n own draws) or x_T"
    )
    step_noise: StepNoise | None = Field(default=None, description="noise of the steps: own, gaussian or averaged:n")
    eta: float | None = Field(default=None, ge=0.0, le=1.0, description="noise added by each step (ddim), 0 to 1")
    variance: Literal["beta", "posterior"] | None = Field(default=None, description="nu^2 of each step (ancestral)")
    refresh: float | None = Field(
        default=None, ge=0.0, le=1.0, description="fraction of the noise's variance that each step renews (posterior)"
    )
    choices: dict[str, "SamplerOptions"] | None = Field(
        default=None, description="for auto: distribution, or `default`, to its sampler"
    )

    @model_validator(mode="after")
    def _options_fit_method(self) -> "SamplerOptions":
        if self.method == "auto":
            return self._check_auto()
        if self.choices is not None:
            raise ValueError("choices: an option of method 'auto' alone")
        if self.num_inference_steps is None:
            raise ValueError("num_inference_steps: missing")
        own = OWN_OPTIONS[self.method]
        for key in ("eta", "variance", "refresh", "step_noise"):
            if getattr(self, key) is not None and key not in own:
                has = f"which has {sorted(own)}" if own else "which is deterministic"
                raise ValueError(f"{key}: not an option of method {self.method!r}, {has}")
        if self.x0_limit is not None and self.x0_handling not in ("clip", "dynamic"):
            raise ValueError(f"x0_limit: not an option of x0_handling {self.x0_handling!r}; clip and dynamic have it")
        return self

    def _check_auto(self) -> "SamplerOptions":
        extra = self.model_dump(exclude_none=True, exclude={"method", "choices"})
        if extra:
            raise ValueError(f"{min(extra)}: not an option of method 'auto'; its choices have it")
        if not self.choices or "default" not in self.choices:
            raise ValueError("choices: method 'auto' needs at least an entry `default`")
        if any(choice.method == "auto" for choice in self.choices.values()):
            raise ValueError("choices: an entry cannot be 'auto' itself")
        return self

    def resolve(self, distribution: str) -> "SamplerOptions":
        """The sampler that a noise gets: itself, or auto's choice."""
        return self if self.choices is None else self.choices.get(distribution, self.choices["default"])

    def arguments(self, distribution: str) -> dict[str, Any]:
        """Options of `ngldm.sampling.generator.Generator` with a model of that noise."""
        return self.resolve(distribution).model_dump(exclude_none=True)
