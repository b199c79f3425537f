"""The sections of params.yaml, with unit and range of each key. A rule between two sections is in `params`."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from ngldm.data.sources.names import LATENT_TYPES
from ngldm.diffusion.names import (
    COUPLINGS,
    FORWARDS,
    LOSSES,
    OBJECTIVES,
    PRECONDITIONINGS,
    SCHEDULES,
    SHAPE,
    STEIN_HEADS,
    TIME_DENSITIES,
    WEIGHTINGS,
    check_preconditioning,
    check_shape,
    check_time_density,
    require_gamma_used,
)
from ngldm.io.device import CHANNELS_LAST, FP32, LAYOUTS, PRECISIONS, Computation, check_computation
from ngldm.io.errors import MAX_NAME
from ngldm.io.limits import MAX_BATCH, MAX_ITEMS, MAX_LR, MAX_REPEATS, MAX_STEPS, MAX_T, MAX_WIDTH
from ngldm.pipeline.config.reading.values import require_possible
from ngldm.sampling.names import MAX_SEED
from ngldm.scoring.features.names import EXTRACTORS, PROTOCOLS, RESIZINGS
from ngldm.training.names import (
    ADAMW,
    LR_SCHEDULES,
    OPTIMIZERS,
    check_length,
    check_precision,
)


@dataclass(frozen=True)
class OneOf:
    """Marks a text that must be one of some names, as `Literal` does. The names are a tuple of the library."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


Forward = Annotated[str, OneOf(FORWARDS)]
Objective = Annotated[str, OneOf(OBJECTIVES)]
Weighting = Annotated[str, OneOf(WEIGHTINGS)]
Loss = Annotated[str, OneOf(LOSSES)]
Coupling = Annotated[str, OneOf(COUPLINGS)]
SteinHead = Annotated[str, OneOf(STEIN_HEADS)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Steps = Annotated[int, Field(gt=0, le=MAX_STEPS)]
Items = Annotated[int, Field(gt=0, le=MAX_ITEMS)]
Batch = Annotated[int, Field(gt=0, le=MAX_BATCH)]
Width = Annotated[int, Field(gt=0, le=MAX_WIDTH)]
Repeats = Annotated[int, Field(gt=0, le=MAX_REPEATS)]
Timesteps = Annotated[int, Field(gt=0, le=MAX_T)]
MAX_SNAPSHOTS = 200  # each is a complete model file
# Without "-", which separates noise from sampler, and without ".", at which DVC splits the names of params.
LABEL = "[A-Za-z0-9][A-Za-z0-9_]*"
Label = Annotated[str, Field(pattern=f"^{LABEL}$", max_length=MAX_NAME)]


def not_set(value: object) -> bool:
    """Leaves an option that is off out of what is fingerprinted and recorded: what it could change is as it was."""
    return not value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _values_are_possible(self) -> Self:
        for key in type(self).model_fields:
            require_possible(key, getattr(self, key))
        return self


class Computing(Section):
    """In what a network computes. What is not chosen is left out of what is fingerprinted and recorded."""

    precision: Annotated[str, OneOf(PRECISIONS)] = Field(
        default=FP32,
        exclude_if=lambda value: value == FP32,
        description="of the network; auto: what is fastest here, and its layout, by timing a few calls",
    )
    layout: Annotated[str, OneOf(LAYOUTS)] = Field(
        default=CHANNELS_LAST,
        exclude_if=lambda value: value == CHANNELS_LAST,
        description="of the network's weights and images in memory; with precision auto it is chosen too",
    )
    deterministic: bool = Field(
        default=True,
        exclude_if=bool,
        description="false: a GPU takes its fastest kernels, which do not give the same bits each time (CUDA only)",
    )

    @model_validator(mode="after")
    def _computation_is_clear(self) -> Self:
        check_computation(self.precision, self.layout)
        return self

    def recorded(self, chosen: Computation) -> dict[str, object]:
        """What is recorded of a computation that was chosen by these settings: {} if it is the usual one."""
        return self.model_copy(update=asdict(chosen)).model_dump(include=set(Computing.model_fields))


class Fit(Computing):
    """Settings of the training loop. Each network that is trained has its own."""

    max_steps: Steps = Field(description="optimiser steps")
    batch_size: Batch = Field(description="images per step")
    lr: Annotated[float, Field(gt=0.0, le=MAX_LR)] = Field(description="learning rate after warm-up")
    weight_decay: float = Field(ge=0.0, description="the optimiser's weight decay")
    warmup_steps: int = Field(ge=0, le=MAX_STEPS, description="steps over which lr rises linearly from 0")
    lr_schedule: Annotated[str, OneOf(LR_SCHEDULES)] = Field(description="lr after warm-up; cosine falls to 0")
    ema_decay: Fraction = Field(description="decay of the averaged weights per step; 0 averages nothing")
    grad_clip: Positive = Field(description="largest global gradient norm")
    precision: Annotated[str, OneOf(PRECISIONS)] = Field(
        description="of the forward and backward pass; the weights stay float32; auto: what is fastest here, and its "
        "layout, by timing a few steps"
    )
    compile: bool = Field(
        default=False, description="compile the network (torch.compile; needs a C++ compiler, costs a minute or so)"
    )
    accumulate_steps: Batch | None = Field(
        default=1,
        description="parts in which a process takes its share of a batch, to need less memory; null: as few as fit the "
        "GPU, found by trial, on a CPU 1",
    )
    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = Field(
        default=ADAMW,
        exclude_if=lambda value: value == ADAMW,
        description="muon: Muon for the matrices of hidden layers, convolutions too, and AdamW for the rest",
    )
    log_every: Steps = Field(description="steps between two reports")
    eval_every: Steps = Field(description="steps between two held-out losses")

    @model_validator(mode="before")
    @classmethod
    def _batch_is_said(cls, content: object) -> object:
        if isinstance(content, dict) and "batch_size" in content and content["batch_size"] is None:
            raise ValueError(
                "batch_size: null is not allowed: the size of a batch decides what is learned, so the memory of a "
                "machine must not choose it; give a number, and accumulate_steps: null finds by trial how much of it "
                "fits a GPU at once"
            )
        return content

    @model_validator(mode="after")
    def _keys_fit(self) -> "Fit":
        if self.accumulate_steps is not None and self.batch_size % self.accumulate_steps:
            raise ValueError(f"accumulate_steps: {self.accumulate_steps} must divide batch_size = {self.batch_size}")
        check_precision(self.precision, self.layout, self.accumulate_steps)
        return self


class EMAParams(Section):
    """Averages kept beside that of ema_decay, so that any length can be had after the training (docs/howto-ema.md)."""

    sigma_rel: Annotated[list[float], Field(min_length=1, max_length=4)] = Field(
        default=[0.05, 0.1], description="relative lengths of the averages that are kept, each above 0, at most 0.2887"
    )
    snapshots: Annotated[int, Field(ge=1, le=MAX_SNAPSHOTS)] = Field(
        default=20, description="number of snapshots of these averages, each of the network's size for each length"
    )

    @model_validator(mode="after")
    def _lengths_are_possible(self) -> "EMAParams":
        for index, length in enumerate(self.sigma_rel):
            check_length(length, f"sigma_rel.{index}")
            if length in self.sigma_rel[:index]:
                raise ValueError(f"sigma_rel.{index}: {length} is listed twice")
        return self


class TrainParams(Fit):
    checkpoint_every: Steps = Field(description="steps between two saves; a crash loses at most that many")
    export: Literal["last", "best"] = Field(
        description="EMA weights in the model file: those of the last step, or those with the best held-out loss"
    )
    snapshot_every: int = Field(
        ge=0, le=MAX_STEPS, description="steps between two models kept for the stage curve; 0 keeps none"
    )
    ema: EMAParams | None = Field(
        default=None,
        exclude_if=not_set,
        description="keep power-function averages with snapshots, for another length later; null keeps none",
    )

    @model_validator(mode="after")
    def _snapshots_fall_on_reports(self) -> "TrainParams":
        if self.snapshot_every % self.log_every:
            raise ValueError(
                f"snapshot_every: {self.snapshot_every} must be a multiple of log_every = {self.log_every} (or 0)"
            )
        if self.snapshot_every and self.max_steps // self.snapshot_every > MAX_SNAPSHOTS:
            raise ValueError(
                f"snapshot_every: {self.snapshot_every} makes {self.max_steps // self.snapshot_every} snapshots "
                f"of each noise, at most {MAX_SNAPSHOTS} are kept; use {-(-self.max_steps // MAX_SNAPSHOTS)} or more"
            )
        return self


class ScheduleParams(Section):
    name: Annotated[str, OneOf(SCHEDULES)] = Field(description="how signal and noise change with t")
    num_train_timesteps: Timesteps = Field(description="T")
    beta_start: float = Field(gt=0.0, lt=1.0, description="beta_1")
    beta_end: float = Field(gt=0.0, lt=1.0, description="beta_T")
    zero_terminal_snr: bool = Field(description="rescale so that x_T is pure noise; not with diffusion.objective eps")
    degree: Annotated[int, Field(ge=0, le=MAX_REPEATS)] = Field(
        description="degree of the schedule polynomial; the others ignore it"
    )
    sigma_min: Positive = Field(SHAPE["sigma_min"], description="noise at t = 1 (edm_ve)")
    sigma_max: Positive = Field(SHAPE["sigma_max"], description="noise at t = T (edm_ve)")
    rho: Positive = Field(SHAPE["rho"], description="sigma^(1/rho) is linear in t (edm_ve)")
    alpha: Annotated[float, Field(gt=1.0, le=2.0)] = Field(
        SHAPE["alpha"], description="a^alpha + b^alpha = 1, the index of a stable noise (stable)"
    )

    @model_validator(mode="after")
    def _shape_is_possible(self) -> "ScheduleParams":
        check_shape(self.name, self.zero_terminal_snr, self.model_dump(include=set(SHAPE)))
        return self


class DiffusionParams(Section):
    forward: Forward = Field(
        description="noise of x_t in training: one draw of D (marginal, the paper's code), or t draws (markov)"
    )
    objective: Objective = Field(description="what the network predicts")
    weighting: Weighting = Field(description="weight of each t in the loss")
    loss: Loss = Field(
        default="squared",
        description="of an image: squared error, or its root, for noise of infinite variance (it learns a median)",
    )
    coupling: Coupling = Field(
        default="independent",
        description="images and noise of a batch in training: independent, or paired by optimal transport "
        "(minibatch_ot, for deterministic samplers only)",
    )
    gamma: Positive | None = Field(
        description="min_snr: upper bound of the SNR, null means 5; p2: exponent, null means 1; none: must be null"
    )
    stein_head: SteinHead = Field(
        default="none",
        description="extra output that learns K_bar for the sampler stein: scalar (a number for each image, for noises "
        "of a shared scale) or element; a noise that needs none gets none",
    )

    preconditioning: Annotated[str, OneOf(PRECONDITIONINGS)] = Field(
        "none", description="edm: input and output of the network have variance 1 at every t; with objective x0"
    )
    time_density: Annotated[str, OneOf(TIME_DENSITIES)] = Field("uniform", description="how often each t is trained")
    time_mean: float | None = Field(None, description="mean of log sigma (logit_normal, edm_lognormal); null: theirs")
    time_std: Positive | None = Field(None, description="deviation of log sigma (the same); null: theirs")
    time_shift: Positive = Field(1.0, description="multiplies sigma: for images of more pixels, above 1")

    @model_validator(mode="after")
    def _options_fit(self) -> "DiffusionParams":
        require_gamma_used(self.weighting, self.gamma, "gamma")
        check_preconditioning(self.preconditioning, self.objective)
        check_time_density(self.time_density, self.time_mean, self.time_std, self.time_shift)
        return self


class LatentsParams(Section):
    batch_size: Batch = Field(description="images per call of the encoder")
    dtype: Annotated[str, OneOf(LATENT_TYPES)] = Field(
        default="float32", description="of the training latents on disk; float16 needs dataset.keep_pixels false"
    )
    flips: bool = Field(
        default=False,
        exclude_if=not_set,
        description="also the mirror image (left and right swapped) of each training image, where it could be an image "
        "of the data set; training draws a side each time",
    )


class SampleParams(Computing):
    num_images: Items = Field(description="images per noise and sampler")
    batch_size: Batch | None = Field(
        description="images per network call; null: as many as fit half the free memory, at most 1024"
    )
    compile: bool = Field(
        default=False, description="compile the network (torch.compile; needs a C++ compiler, costs a minute or so)"
    )
    seed: int = Field(ge=0, le=MAX_SEED, description="seed of the set; each image has its own random numbers from it")
    trajectory_images: Batch = Field(description="rows of the trajectory picture; of points, how many it shows")
    trajectory_frames: Annotated[int, Field(ge=2, le=MAX_REPEATS)] = Field(
        description="columns of the trajectory picture, at evenly spaced levels of noise"
    )


class CurveParams(Computing):
    """The stage `curve`: scores while training, where train.snapshot_every keeps models."""

    sampler: Label = Field(description="label in sampler_options; few steps are best, as it runs for each snapshot")
    num_images: Items = Field(description="images per snapshot")
    batch_size: Batch = Field(description="images per network call")


class ReferenceParams(Section):
    width: Width = Field(description="channels of the classifier's first layer")
    dim: Width = Field(description="length of the classifier's feature vector")
    fit: Fit


class EvaluateParams(Section):
    extractor: Annotated[str, OneOf(EXTRACTORS)] = Field(
        description="network that gives the features; auto: classifier of the labels, rotation without "
        "labels, of points the points themselves"
    )
    inception_weights: str | None = Field(description="path of the Inception weights; null: torch's cache")
    dinov2_weights: str | None = Field(
        default=None,
        description="DINOv2's weights, a file or a repository of the Hugging Face hub; null: that of ViT-L/14",
    )
    resizing: Annotated[str, OneOf(RESIZINGS)] = Field(
        default="standard",
        description="of images for Inception, DINOv2: standard: as pytorch-fid and Stein et al.; clean: as clean-fid",
    )
    batch_size: Batch = Field(description="images per call of the extractor")
    kid_subset_size: Annotated[int, Field(ge=2, le=MAX_BATCH)] = Field(description="feature vectors per KID subset")
    kid_subsets: Batch = Field(description="KID subsets")
    neighbours: Batch = Field(description="k of precision and recall")
    fid_protocol: Annotated[str, OneOf(PROTOCOLS)] = Field(
        description="standard: all generated against all training images; paper: 1000 against 1000 random ones"
    )
    inception_score: bool = Field(default=False, description="also the Inception Score, with extractor inception")
    extrapolate: bool = Field(
        default=False, description="also the distance for infinitely many generated images (FID-infinity)"
    )

    @property
    def weights(self) -> str | None:
        """The weights of the extractor; None if it has none to choose."""
        chosen: str | None = getattr(self, f"{self.extractor}_weights", None)
        return chosen

    @model_validator(mode="after")
    def _classes_are_known(self) -> "EvaluateParams":
        if self.inception_score and self.extractor != "inception":
            raise ValueError(f"inception_score: true needs extractor inception, not {self.extractor!r}")
        return self
