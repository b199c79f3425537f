"""params.yaml, typed and validated as a whole before any work starts.

Hydra composes the file from conf/; DVC hands it to the stages. Units and ranges stand in the field descriptions.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator
from ruamel.yaml import YAML, YAMLError

from ngldm.errors import InputError
from ngldm.files import atomic_path

PARAMS_FILE = Path("params.yaml")
# Pydantic checks types and ranges without importing torch, so that an error answers at once; names that live in
# registries of the core (noises, samplers, schedules, ...) are checked against these, and tests hold the two equal.
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
MAX_SNAPSHOTS = 200  # each is a whole model file
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$")]  # no "-": it separates noise from sampler


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Fit(Section):
    """Settings of the training loop, for each of the networks."""

    max_steps: PositiveInt = Field(description="optimiser steps")
    batch_size: PositiveInt = Field(description="images per step")
    lr: Positive = Field(description="AdamW's learning rate after warm-up")
    weight_decay: float = Field(ge=0.0, description="AdamW's weight decay")
    warmup_steps: int = Field(ge=0, description="steps over which lr rises linearly from 0")
    lr_schedule: Literal["constant", "cosine"] = Field(description="lr after warm-up: constant, or a cosine to 0")
    ema_decay: Fraction = Field(description="decay of the averaged weights per step; 0 averages nothing")
    grad_clip: Positive = Field(description="largest global gradient norm")
    precision: Literal["fp32", "bf16"] = Field(description="forward and backward pass; master weights are float32")
    compile: bool = Field(
        default=False, description="compile the network (torch.compile; needs a C++ compiler, costs a minute or so)"
    )
    log_every: PositiveInt = Field(description="steps between two reports")
    eval_every: PositiveInt = Field(description="steps between two held-out losses")


class TrainParams(Fit):
    checkpoint_every: PositiveInt = Field(description="steps between two saves; what a crash can lose")
    export: Literal["last", "best"] = Field(
        description="EMA weights that go into the model file: of the last step, or of the best held-out loss"
    )
    snapshot_every: int = Field(ge=0, description="steps between two kept models for the stage curve; 0 keeps none")

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


class DatasetParams(Section):
    name: Literal["digits", "cifar10", "fashion_mnist", "image_folder"] = Field(description="which data set")
    source: str = Field(
        description="what DVC watches for changes: image_folder's folder or archive; of the others their file in conf/"
    )
    test_size: PositiveInt | None = Field(
        default=None, description="images for the test split (digits; image_folder without train/ and test/)"
    )
    seed: int = Field(default=0, ge=0, description="seed of the split")
    mirror: str | None = Field(
        default=None, description="address in place of the authors' server, ends in / (cifar10, fashion_mnist)"
    )
    size: PositiveInt | None = Field(default=None, description="side of the square images, in pixels (image_folder)")
    channels: Literal[1, 3] | None = Field(default=None, description="1 is grey, 3 is RGB (image_folder)")
    min_side: PositiveInt | None = Field(default=None, description="smallest side of a usable file (image_folder)")
    on_error: Literal["fail", "skip"] | None = Field(
        default=None, description="a file that is no usable image: stop, or leave it out and report it (image_folder)"
    )

    @model_validator(mode="after")
    def _options_fit_name(self) -> "DatasetParams":
        own = {
            "digits": {"test_size"},
            "cifar10": {"mirror"},
            "fashion_mnist": {"mirror"},
            "image_folder": {"test_size", "size", "channels", "min_side", "on_error"},
        }[self.name]
        optional = {"mirror", "test_size"} if self.name == "image_folder" else {"mirror"}
        for key in ("test_size", "mirror", "size", "channels", "min_side", "on_error"):
            given = getattr(self, key) is not None
            if given and key not in own:
                raise ValueError(f"{key}: not an option of data set {self.name!r}, which has {sorted(own)}")
            if not given and key in own - optional:
                raise ValueError(f"{key}: missing; data set {self.name!r} needs it")
        if self.mirror is not None and not self.mirror.endswith("/"):
            raise ValueError(f"mirror: {self.mirror!r} must end in /")
        return self


class AutoencoderParams(Section):
    kind: Literal["paper", "kl", "identity"] = Field(description="architecture; identity is pixel space")
    latent_channels: PositiveInt = Field(description="channels of the latent (paper, kl)")
    latent_size: PositiveInt = Field(description="side of the latent in pixels (paper)")
    levels: PositiveInt = Field(description="halvings of the side (kl)")
    width: PositiveInt = Field(description="channels of the hidden layers (paper, kl)")
    kl_weight: float = Field(ge=0.0, description="weight of the KL term per image dimension (kl)")
    fit: Fit


class ScheduleParams(Section):
    name: Literal["constant", "linear", "quadratic", "cubic", "polynomial", "cosine", "sigmoid", "laplace", "edm"] = (
        Field(description="shape of beta_t in t")
    )
    num_train_timesteps: PositiveInt = Field(description="T")
    beta_start: float = Field(gt=0.0, lt=1.0, description="beta_1")
    beta_end: float = Field(gt=0.0, lt=1.0, description="beta_T")
    zero_terminal_snr: bool = Field(description="rescale so that x_T is pure noise; not with diffusion.objective eps")
    degree: Annotated[int, Field(ge=0)] = Field(description="of the schedule polynomial; others have their own")


class UNetParams(Section):
    widths: Annotated[list[PositiveInt], Field(min_length=1)] = Field(description="channels per level, finest first")
    blocks_per_level: PositiveInt = Field(description="residual blocks per level")
    attention_levels: list[Annotated[int, Field(ge=0)]] = Field(description="indices of levels with self-attention")
    attention_head_dim: PositiveInt = Field(description="channels per attention head")
    time_embedding: Literal["sinusoidal", "siren"] = Field(description="how t enters")
    dropout: Fraction = Field(description="dropout probability in each block")

    @model_validator(mode="after")
    def _levels_exist(self) -> "UNetParams":
        for level in self.attention_levels:
            if level >= len(self.widths):
                raise ValueError(f"attention_levels: {level} is not an index into the {len(self.widths)} widths")
            if self.widths[level] % self.attention_head_dim:
                raise ValueError(f"attention_head_dim: {self.attention_head_dim} does not divide widths[{level}]")
        return self


class DiffusionParams(Section):
    forward: Literal["marginal", "markov"] = Field(
        description="noise of x_t in training: one draw of D (the paper's code), or what t steps of the chain leave"
    )
    objective: Literal["eps", "x0", "v"] = Field(description="what the network predicts")
    weighting: Literal["none", "min_snr", "p2"] = Field(description="weight of each t in the loss")
    gamma: Positive | None = Field(
        description="min_snr: the largest SNR that counts, null: 5; p2: the exponent, null: 1"
    )


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
        """Keyword arguments for `ngldm.generate.generate` with a model of that noise."""
        return self.resolve(distribution).model_dump(exclude_none=True)


class StudyVariant(Section):
    """One thing to train in the study; what it leaves out is as in the section `diffusion`."""

    noise: dict[str, Any] = Field(description="distribution and its parameters")
    forward: Literal["marginal", "markov"] | None = Field(default=None, description="in place of diffusion.forward")
    objective: Literal["eps", "x0", "v"] | None = Field(default=None, description="in place of diffusion.objective")
    weighting: Literal["none", "min_snr", "p2"] | None = Field(
        default=None, description="in place of diffusion.weighting"
    )
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
        """Arguments for `ngldm.study.score_samplers`."""
        return {
            "sample_seeds": list(range(self.sample_seeds)),
            "num_images": self.num_images,
            "batch_size": self.batch_size,
        }


class SampleParams(Section):
    num_images: PositiveInt = Field(description="images per noise and sampler")
    batch_size: PositiveInt = Field(description="images per network call")
    seed: int = Field(ge=0, lt=10**12, description="seed of the set; each image has its own seed from it")
    trajectory_images: PositiveInt = Field(description="rows of the trajectory picture")
    trajectory_frames: Annotated[int, Field(ge=2)] = Field(description="columns of the trajectory picture")


class CurveParams(Section):
    """The stage `curve`: scores while training, where train.snapshot_every keeps models."""

    sampler: Label = Field(description="label in sampler_options; one of few steps, since it runs at each snapshot")
    num_images: PositiveInt = Field(description="images per snapshot")


class ReferenceParams(Section):
    width: PositiveInt = Field(description="channels of the classifier's first layer")
    dim: PositiveInt = Field(description="length of the classifier's feature vector")
    fit: Fit


class EvaluateParams(Section):
    extractor: Literal["classifier", "inception"] = Field(description="network that gives the features")
    inception_weights: str | None = Field(description="path of the Inception weights; null: torch's cache")
    batch_size: PositiveInt = Field(description="images per call of the extractor")
    kid_subset_size: Annotated[int, Field(ge=2)] = Field(description="feature vectors per KID subset")
    kid_subsets: PositiveInt = Field(description="KID subsets")
    bootstrap: Annotated[int, Field(ge=2)] = Field(description="draws that give the distance's spread")
    neighbours: PositiveInt = Field(description="k of precision and recall")
    fid_protocol: Literal["standard", "paper"] = Field(
        description="standard: all generated against all training images; paper: 1000 against 1000 random ones"
    )


class Params(Section):
    """All of params.yaml."""

    recipe: str = Field(description="which conf/recipe this is; a label in MLflow and the report")
    experiment: str = Field(min_length=1, description="MLflow experiment")
    seed: int = Field(ge=0, description="seed of all training")
    dataset: DatasetParams
    noises: Annotated[list[Label], Field(min_length=1)] = Field(description="the distributions to compare")
    noise_options: dict[Label, dict[str, Any]] = Field(
        description="for each label in noises: its distribution and that one's parameters"
    )
    autoencoder: AutoencoderParams
    latents: "LatentsParams"
    schedule: ScheduleParams
    diffusion: DiffusionParams
    unet: UNetParams
    train: TrainParams
    samplers: Annotated[list[Label], Field(min_length=1)] = Field(description="the samplers to compare")
    sampler_options: dict[Label, SamplerOptions]
    sample: SampleParams
    reference: ReferenceParams
    evaluate: EvaluateParams
    curve: CurveParams
    study: StudyParams

    @model_validator(mode="after")
    def _labels_have_options(self) -> "Params":
        for key in ("noises", "samplers"):
            labels, options = getattr(self, key), getattr(self, key[:-1] + "_options")
            for index, label in enumerate(labels):
                if label not in options:
                    raise ValueError(
                        f"{key}[{index}]: {label!r} has no entry in {key[:-1]}_options, which has: "
                        f"{', '.join(sorted(options))}. To add one: -S {key[:-1]}=<a file of conf/{key[:-1]}>"
                    )
                if label in labels[:index]:
                    raise ValueError(f"{key}[{index}]: {label!r} is listed twice")
        return self

    @model_validator(mode="after")
    def _distributions_named(self) -> "Params":
        for label, options in self.noise_options.items():
            if not isinstance(options.get("distribution"), str):
                raise ValueError(f"noise_options.{label}.distribution: missing; it names a registered noise")
        return self

    @model_validator(mode="after")
    def _curve_has_a_sampler(self) -> "Params":
        if self.curve.sampler not in self.sampler_options:
            raise ValueError(f"curve.sampler: {self.curve.sampler!r} is none of {sorted(self.sampler_options)}")
        if self.curve.num_images < 2:
            raise ValueError("curve.num_images: 1 is too few to score; a covariance needs at least 2")
        return self

    @model_validator(mode="after")
    def _enough_images(self) -> "Params":
        if self.sample.num_images <= self.evaluate.neighbours:
            raise ValueError(
                f"sample.num_images: {self.sample.num_images} is too few to score; precision and recall with "
                f"evaluate.neighbours = {self.evaluate.neighbours} need more than that, a covariance at least 2"
            )
        return self

    @model_validator(mode="after")
    def _eps_needs_signal(self) -> "Params":
        if self.schedule.zero_terminal_snr and self.diffusion.objective == "eps":
            raise ValueError(
                "diffusion.objective: 'eps' with schedule.zero_terminal_snr: x_T is pure noise, from which eps "
                "says nothing about x_0; use v or x0"
            )
        return self

    @model_validator(mode="after")
    def _variants_compose(self) -> "Params":
        for label, variant in self.study.variants.items():
            try:
                schedule = ScheduleParams(**{**self.schedule.model_dump(), **variant.schedule})
            except ValidationError as error:
                raise ValueError(f"study.variants.{label}.schedule.{_describe(error.errors()[0])}") from None
            if schedule.zero_terminal_snr and (variant.objective or self.diffusion.objective) == "eps":
                raise ValueError(f"study.variants.{label}.objective: 'eps' with zero_terminal_snr; use v or x0")
            for name in variant.samplers or self.study.samplers:
                entry = self.study.samplers[name]
                for choice in (entry.choices or {name: entry}).values():
                    if (choice.num_inference_steps or 0) > schedule.num_train_timesteps:
                        raise ValueError(
                            f"study.samplers.{name}.num_inference_steps: {choice.num_inference_steps} is above the "
                            f"num_train_timesteps = {schedule.num_train_timesteps} of variant {label!r}"
                        )
        return self

    @model_validator(mode="after")
    def _steps_within_t(self) -> "Params":
        for label, options in self.sampler_options.items():
            entries = {f"{label}.choices.{name}": choice for name, choice in (options.choices or {}).items()}
            for key, entry in (entries or {label: options}).items():
                if (entry.num_inference_steps or 0) > self.schedule.num_train_timesteps:
                    raise ValueError(
                        f"sampler_options.{key}.num_inference_steps: {entry.num_inference_steps} is above "
                        f"schedule.num_train_timesteps = {self.schedule.num_train_timesteps}; use 1 to that"
                    )
        return self

    def noise_arguments(self, label: str) -> dict[str, Any]:
        """`name` and `params` for `ngldm.noise.make_noise`."""
        options = dict(self.noise_options[label])
        return {"name": options.pop("distribution"), "params": options}


class LatentsParams(Section):
    batch_size: PositiveInt = Field(description="images per call of the encoder")


Params.model_rebuild()


def parse_params(content: Mapping[str, Any], source: str = "params.yaml") -> Params:
    """Validate the content of a params file.

    Raises:
        InputError: one line per fault, with key path, value and what is allowed.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = [_describe(fault) for fault in error.errors()]
        raise InputError(f"{source}:\n  " + "\n  ".join(lines)) from None


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and validate a params file.

    Raises:
        InputError: the file is missing, is not YAML, or says something that is not allowed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; run from the repository's root")
    try:
        content = YAML(typ="safe").load(path)  # YAML 1.2, as DVC writes it: PyYAML would read 1e-05 as a string
    except YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping of sections, is {type(content).__name__}")
    return parse_params(content, str(path))


def _describe(fault: Any) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    kind, value = fault["type"], fault["input"]
    message = fault["msg"].removeprefix("Value error, ")
    if kind == "value_error":  # our own: they name the key and the value themselves
        return f"{path}.{message}" if path else message
    if kind == "extra_forbidden":
        return f"{path}: unknown key; {_siblings(fault['loc'])}"
    if kind == "missing":
        return f"{path}: missing"
    return f"{path}: {value!r} is not allowed: {message[0].lower()}{message[1:]}"


def _siblings(loc: tuple[Any, ...]) -> str:
    model: Any = Params
    for part in loc[:-1]:
        annotation = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else None
        if annotation is None:  # a label inside a mapping such as sampler_options
            continue
        options = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, type) and issubclass(a, Section)]
        model = options[0] if options else annotation
    return f"known here: {', '.join(getattr(model, 'model_fields', {}))}"


def describe(section: BaseModel, prefix: str = "") -> list[str]:
    """Each parameter on a line: key path, value, meaning."""
    lines = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            lines += describe(value, f"{prefix}{key}.")
        elif isinstance(value, dict) and any(isinstance(entry, BaseModel) for entry in value.values()):
            for label, entry in value.items():
                lines += describe(entry, f"{prefix}{key}.{label}.")
        elif value is not None or not field.description or field.is_required():
            meaning = f"  # {field.description}" if field.description else ""
            lines.append(f"{prefix}{key}: {value}{meaning}")
    return lines


def check_noises(params: Params) -> None:
    """Make every noise of `noise_options` once: the registry knows what types and ranges cannot say.

    Raises:
        InputError: an unknown distribution or parameter, or a distribution without finite variance.
    """
    from ngldm.noise import make_noise

    for label in params.noise_options:
        try:
            make_noise(**params.noise_arguments(label))
        except InputError as error:
            raise InputError(f"noise_options.{label}: {error}") from None


def compose_params(path: Path, overrides: list[str]) -> None:
    """Write a params file from conf/ with overrides, by the code that `dvc exp run` uses.

    Raises:
        InputError: Hydra cannot compose it; its message names the choices. The file stays as it was.
    """
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException

    with atomic_path(path) as temporary:
        try:
            compose_and_dump(temporary, str(Path("conf").resolve()), None, "config", "plugins", overrides)
        except HydraException as error:
            raise InputError(f"conf: {error}") from error
