"""The params of the study."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from ngldm.io.limits import MAX_REPEATS
from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.pipeline.config.sections import (
    Batch,
    Coupling,
    Forward,
    Items,
    Label,
    Objective,
    Repeats,
    Section,
    SteinHead,
    Weighting,
)
from ngldm.sampling.names import MAX_SEED

SHORT = ("forward", "objective", "weighting", "coupling", "stein_head")  # keys of `diffusion` beside the others
Labels = Annotated[list[Label], Field(min_length=1)]
TRAIN_SET = "train_set"  # the label of the training points themselves


class StudyVariant(Section):
    """A model to train in the study. Settings that it does not have are taken from the other sections."""

    noise: dict[str, Any] = Field(description="distribution and its parameters")
    forward: Forward | None = Field(default=None, description="replaces diffusion.forward")
    objective: Objective | None = Field(default=None, description="replaces diffusion.objective")
    weighting: Weighting | None = Field(default=None, description="replaces diffusion.weighting")
    coupling: Coupling | None = Field(default=None, description="replaces diffusion.coupling")
    stein_head: SteinHead | None = Field(default=None, description="replaces diffusion.stein_head")
    diffusion: dict[str, Any] = Field(default_factory=dict, description="replaces these keys of diffusion, any of them")
    schedule: dict[str, Any] = Field(default_factory=dict, description="replaces these keys of schedule")
    train: dict[str, Any] = Field(
        default_factory=dict,
        description="replaces these keys of train; not checkpoint_every, ema, export and snapshot_every, which the "
        "study does not use",
    )
    dataset: dict[str, Any] = Field(
        default_factory=dict,
        description="the variant makes points of its own: replaces law (or some of its keys), transform, train_size, "
        "test_size and seed of dataset; seed: train draws other points for each training (points of a law)",
    )
    data: Labels | None = Field(default=None, description="labels in study.data; default: all")
    samplers: Labels | None = Field(default=None, description="labels in study.samplers; default: all")

    @model_validator(mode="after")
    def _said_once(self) -> "StudyVariant":
        for key in SHORT:
            if getattr(self, key) is not None and key in self.diffusion:
                raise ValueError(f"{key}: given twice, also in diffusion.{key}")
        return self

    def replaced_diffusion(self) -> dict[str, Any]:
        """The settings that replace those of the section `diffusion`."""
        own = {**self.model_dump(exclude_none=True, include=set(SHORT)), **self.diffusion}
        return {"gamma": None, **own} if own.get("weighting") == "none" else own  # gamma belongs to the other weighting


class StudyParams(Section):
    """The stage `study`. Without variants it does nothing; recipe=study has some."""

    variants: dict[Label, StudyVariant] = Field(description="label to a model to train")
    data: dict[Label, dict[str, Any]] = Field(
        default_factory=dict,
        description="label to the key dataset of a variant: every variant is trained on each of them, with the label "
        "<data>_<variant>; the variant's own dataset replaces keys of it (points of a law)",
    )
    samplers: dict[Label, SamplerOptions] = Field(description="label to a sampler")
    scores: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="further scores beside the Frechet distance, by name; a * at the end stands for the rest of names",
    )
    train_seeds: Repeats = Field(description="trainings of each variant")
    sample_seeds: Repeats = Field(description="sets of images of each training and sampler")
    first_seed: Annotated[int, Field(ge=0, le=MAX_SEED - MAX_REPEATS)] = Field(
        default=0, description="of trainings and of sets of images; the others follow. Default 0"
    )
    num_images: Annotated[Items, Field(ge=2)] = Field(description="images per set; a covariance needs at least 2")
    batch_size: Batch = Field(description="images per network call")
    workers: Repeats = Field(description="parallel processes, with one thread each")

    @model_validator(mode="after")
    def _labels_exist(self) -> "StudyParams":
        if self.variants and not self.samplers:
            raise ValueError("samplers: {}, but there are variants to score; name at least one sampler")
        for label, variant in self.variants.items():
            if not isinstance(variant.noise.get("distribution"), str):
                raise ValueError(f"variants.{label}.noise.distribution: missing; it names a registered noise")
            for key, known in (("samplers", self.samplers), ("data", self.data)):
                for name in getattr(variant, key) or ():
                    if name not in known:
                        raise ValueError(f"variants.{label}.{key}: {name!r} is none of {sorted(known)}")
        return self

    def training_seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.train_seeds)

    def scoring(self) -> dict[str, Any]:
        """Arguments for `ngldm.pipeline.experiments.study.compute.score_samplers`."""
        return {
            "sample_seeds": list(range(self.first_seed, self.first_seed + self.sample_seeds)),
            "num_images": self.num_images,
            "batch_size": self.batch_size,
        }
