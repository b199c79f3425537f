"""The params of the study."""

from typing import Any

from pydantic import Field, PositiveInt, model_validator

from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.pipeline.config.sections import Coupling, Forward, Label, Loss, Objective, Section, SteinHead, Weighting


class StudyVariant(Section):
    """A model to train in the study. Settings that it does not have are taken from the other sections."""

    noise: dict[str, Any] = Field(description="distribution and its parameters")
    forward: Forward | None = Field(default=None, description="replaces diffusion.forward")
    objective: Objective | None = Field(default=None, description="replaces diffusion.objective")
    weighting: Weighting | None = Field(default=None, description="replaces diffusion.weighting")
    loss: Loss | None = Field(default=None, description="replaces diffusion.loss")
    coupling: Coupling | None = Field(default=None, description="replaces diffusion.coupling")
    stein_head: SteinHead | None = Field(default=None, description="replaces diffusion.stein_head")
    schedule: dict[str, Any] = Field(default_factory=dict, description="replaces these keys of schedule")
    samplers: list[Label] | None = Field(default=None, description="labels in study.samplers; default: all")

    def diffusion(self) -> dict[str, Any]:
        """The settings that replace those of the section `diffusion`."""
        keys = {"forward", "objective", "weighting", "loss", "coupling", "stein_head"}
        own = self.model_dump(exclude_none=True, include=keys)
        return {**own, "gamma": None} if self.weighting == "none" else own  # gamma belongs to the other weighting


class StudyParams(Section):
    """The stage `study`. Without variants it does nothing; recipe=study has some."""

    variants: dict[Label, StudyVariant] = Field(description="label to a model to train")
    samplers: dict[Label, SamplerOptions] = Field(description="label to a sampler")
    train_seeds: PositiveInt = Field(description="trainings of each variant")
    sample_seeds: PositiveInt = Field(description="sets of images of each training and sampler")
    num_images: PositiveInt = Field(description="images per set")
    batch_size: PositiveInt = Field(description="images per network call")
    workers: PositiveInt = Field(description="parallel processes, with one thread each")

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
