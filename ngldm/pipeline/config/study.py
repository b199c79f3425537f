"""The params of the study."""

from typing import Any

from pydantic import Field, PositiveInt, model_validator

from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.pipeline.config.sections import Forward, Label, Objective, Section, Weighting


class StudyVariant(Section):
    """One thing to train in the study; what it leaves out is as in the section `diffusion`."""

    noise: dict[str, Any] = Field(description="distribution and its parameters")
    forward: Forward | None = Field(default=None, description="in place of diffusion.forward")
    objective: Objective | None = Field(default=None, description="in place of diffusion.objective")
    weighting: Weighting | None = Field(default=None, description="in place of diffusion.weighting")
    schedule: dict[str, Any] = Field(default_factory=dict, description="in place of the same keys of schedule")
    samplers: list[Label] | None = Field(default=None, description="labels in study.samplers; all unless said")

    def diffusion(self) -> dict[str, Any]:
        """What differs from the section `diffusion`."""
        return self.model_dump(exclude_none=True, include={"forward", "objective", "weighting"})


class StudyParams(Section):
    """The stage `study`: nothing unless it has variants (recipe=study)."""

    variants: dict[Label, StudyVariant] = Field(description="label to what is trained")
    samplers: dict[Label, SamplerOptions] = Field(description="label to a sampler that scores them")
    train_seeds: PositiveInt = Field(description="trainings of each variant")
    sample_seeds: PositiveInt = Field(description="sets of images of each training and sampler")
    num_images: PositiveInt = Field(description="images per set")
    batch_size: PositiveInt = Field(description="images per network call")
    workers: PositiveInt = Field(description="processes side by side, one thread each")

    @model_validator(mode="after")
    def _samplers_exist(self) -> "StudyParams":
        for label, variant in self.variants.items():
            if not isinstance(variant.noise.get("distribution"), str):
                raise ValueError(f"variants.{label}.noise.distribution: missing; it names a registered noise")
            for name in variant.samplers or ():
                if name not in self.samplers:
                    raise ValueError(f"variants.{label}.samplers: {name!r} is none of {sorted(self.samplers)}")
        return self

    def scoring(self) -> dict[str, Any]:
        """Arguments for `ngldm.pipeline.experiments.study.score_samplers`."""
        return {
            "sample_seeds": list(range(self.sample_seeds)),
            "num_images": self.num_images,
            "batch_size": self.batch_size,
        }
