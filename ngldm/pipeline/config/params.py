"""params.yaml with types. The whole file is checked before any work starts.

Hydra writes the file from conf/, and the stages read it. The modules `sections`, `architectures`, `samplers` and
`study` describe each key with its unit and range, `variants` composes the models of the study. This module checks the
rules between keys.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError, model_validator

from ngldm.data.sources.names import check_flips
from ngldm.diffusion.names import (
    check_coupling_of_classes,
    ends_in_noise,
    require_bounded_velocity,
    require_chain,
    require_signal,
)
from ngldm.io.errors import InputError, require_name
from ngldm.io.files import read_bytes
from ngldm.io.limits import MAX_REPEATS, MAX_TEXT
from ngldm.networks.names import FOR_IMAGES, FOR_POINTS, OWN_SECTIONS
from ngldm.pipeline.config.architectures import AutoencoderParams, MLPParams, NetworkParams, UNetParams
from ngldm.pipeline.config.dataset.section import DatasetParams
from ngldm.pipeline.config.reading.faults import describe_fault
from ngldm.pipeline.config.reading.text import read_yaml
from ngldm.pipeline.config.samplers import SamplerOptions, require_betas, require_guided, require_right, require_steps
from ngldm.pipeline.config.sections import (
    CurveParams,
    DiffusionParams,
    EvaluateParams,
    Label,
    LatentsParams,
    ReferenceParams,
    SampleParams,
    ScheduleParams,
    Section,
    TrainParams,
)
from ngldm.pipeline.config.study import StudyParams
from ngldm.pipeline.config.variants import Base, StudyModel, study_models
from ngldm.sampling.names import MAX_SEED
from ngldm.scoring.features.names import check_names

PARAMS_FILE = Path("params.yaml")
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class Training(NamedTuple):
    """What one training trains: a label of `noises`, and its seed."""

    noise: str
    seed: int


def trainings_of(noises: Sequence[str], seeds: Sequence[int], seed: int) -> dict[str, Training]:
    """Each noise with each seed, by the label that stages and files have.

    The training with the seed of everything else has its noise's label. The others add their own seed, as in
    `laplace-s1`. So a seed that is added trains only its own models, and its number is part of every command and path.

    Args:
        seed: of everything else, as the autoencoder.
    """
    return {noise if own == seed else f"{noise}-s{own}": Training(noise, own) for noise in noises for own in seeds}


def _hidden(content: object, key: str = "") -> Iterator[str]:
    """The keys that DVC's run cache does not see, in options that packages of users name as they like."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            place = f"{key}.{name}" if key else str(name)
            yield from [place] if name in ("size", "nfiles") else _hidden(value, place)
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _hidden(value, f"{key}[{number}]")


class Params(Section):
    """All of params.yaml."""

    recipe: str = Field(description="name of the file in conf/recipe; a label in MLflow and the report")
    experiment: str = Field(description="MLflow experiment")
    seed: Seed = Field(description="seed of everything that all trainings share, as the autoencoder")
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_REPEATS)] = Field(
        default_factory=lambda known: [known.get("seed", 0)],
        description="each noise is trained with each of these; default: seed alone",
    )
    dataset: DatasetParams
    noises: Annotated[list[Label], Field(min_length=1)] = Field(description="the distributions to compare")
    noise_options: dict[Label, dict[str, Any]] = Field(
        description="for each label in noises: the distribution and its parameters"
    )
    trainings: dict[str, dict[str, Any]] = Field(
        default={}, description="each noise with each seed, by label: conf/ makes it, and DVC reads it"
    )
    autoencoder: AutoencoderParams
    latents: LatentsParams
    schedule: ScheduleParams
    diffusion: DiffusionParams
    network: NetworkParams = NetworkParams()  # params of an older version have none
    unet: UNetParams
    mlp: MLPParams
    train: TrainParams
    samplers: Annotated[list[Label], Field(min_length=1)] = Field(description="the samplers to compare")
    sampler_options: dict[Label, SamplerOptions]
    sample: SampleParams
    reference: ReferenceParams
    evaluate: EvaluateParams
    curve: CurveParams
    study: StudyParams

    @model_validator(mode="after")
    def _names_are_safe(self) -> "Params":
        for key in ("recipe", "experiment"):
            require_name(key, getattr(self, key))
        return self

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
    def _seeds_differ(self) -> "Params":
        for index, seed in enumerate(self.seeds):
            if seed in self.seeds[:index]:
                raise ValueError(f"seeds[{index}]: {seed} is listed twice")
        return self

    @model_validator(mode="after")
    def _distributions_named(self) -> "Params":
        for label, options in self.noise_options.items():
            if not isinstance(options.get("distribution"), str):
                raise ValueError(f"noise_options.{label}.distribution: missing; it names a registered noise")
        return self

    @model_validator(mode="after")
    def _options_can_be_told_apart(self) -> "Params":
        content = self.model_dump(include={"noise_options", "autoencoder", "network", "study"})
        if hidden := next(_hidden(content), None):
            raise ValueError(
                f"{hidden}: an option of this name is left out where DVC compares runs, so a change of it would give "
                "the old results. Give it another name in your code"
            )
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
    def _kinds_fit_the_data(self) -> "Params":
        points, kind, extractor = self.dataset.name == "points", self.autoencoder.kind, self.evaluate.extractor
        if points and kind != "identity":
            raise ValueError(f"autoencoder.kind: {kind!r} is for images; points need 'identity'")
        if extractor != "auto" and points != (extractor == "points"):
            raise ValueError(f"evaluate.extractor: {extractor!r} does not fit the data set {self.dataset.name!r}")
        if self.network.kind in (FOR_IMAGES if points else FOR_POINTS):
            what = "images; points need 'mlp'" if points else "points; images need 'unet' or 'dit'"
            raise ValueError(f"network.kind: {self.network.kind!r} is for {what}, or a network of your own")
        return self

    @model_validator(mode="after")
    def _latents_fit_the_data(self) -> "Params":
        if self.latents.dtype != "float32" and self.dataset.keep_pixels is not False:
            raise ValueError(f"latents.dtype: {self.latents.dtype!r} needs dataset.keep_pixels false")
        if self.latents.flips:
            check_flips(self.dataset.name)
        return self

    @model_validator(mode="after")
    def _diffusion_fits_schedule(self) -> "Params":
        schedule, diffusion = self.schedule, self.diffusion
        require_signal(diffusion.objective, ends_in_noise(schedule.name, schedule.zero_terminal_snr))
        require_bounded_velocity(diffusion.objective, schedule.name)
        if diffusion.forward == "markov":
            require_chain("diffusion.forward: 'markov'", schedule.name)
        used = {label: self.sampler_options[label] for label in {*self.samplers, self.curve.sampler}}
        require_betas(used, "sampler_options", schedule)
        require_guided(used, "sampler_options", self.network)
        require_right(used, "sampler_options", diffusion.coupling)
        if self.network.num_classes is not None:
            check_coupling_of_classes(diffusion.coupling)
        return self

    @model_validator(mode="after")
    def _variants_compose(self) -> "Params":
        check_names(self.study.scores, self.dataset.name == "points", "study.scores")
        for model in self.study_models():
            schedule, diffusion = model.schedule, model.diffusion
            pure_noise = ends_in_noise(schedule.name, schedule.zero_terminal_snr)
            require_signal(diffusion.objective, pure_noise, f"{model.key}.objective")
            require_bounded_velocity(diffusion.objective, schedule.name, f"{model.key}.objective")
            if diffusion.forward == "markov":
                require_chain(f"{model.key}.forward: 'markov'", schedule.name)
            require_steps(model.samplers, "study.samplers", schedule, f" of {model.key}")
            require_right(model.samplers, "study.samplers", diffusion.coupling)
            require_betas(model.samplers, "study.samplers", schedule)
            require_guided(model.samplers, "study.samplers", self.network)
            if self.network.num_classes is not None:
                check_coupling_of_classes(diffusion.coupling, f"{model.key}.coupling")
        return self

    @model_validator(mode="after")
    def _steps_within_t(self) -> "Params":
        require_steps(self.sampler_options, "sampler_options", self.schedule)
        return self

    def study_models(self) -> list[StudyModel]:
        """The models of the study, each with all its settings."""
        return study_models(self.study, Base(self.schedule, self.diffusion, self.train, self.dataset))

    @property
    def training_labels(self) -> list[str]:
        """The labels of all trainings: noise by noise, and within a noise in the order of the seeds."""
        return list(trainings_of(self.noises, self.seeds, self.seed))

    def training(self, label: str) -> Training:
        """What the training with this label trains."""
        return trainings_of(self.noises, self.seeds, self.seed)[label]

    def labels_of(self, noise: str) -> list[str]:
        """The labels of the trainings of a noise."""
        return list(trainings_of([noise], self.seeds, self.seed))

    @property
    def gaussian(self) -> str | None:
        """The label of the first Gaussian noise, with which the others are compared; None if there is none."""
        return next((n for n in self.noises if self.noise_options[n]["distribution"] == "gaussian"), None)

    def sample_seed(self, label: str) -> int:
        """The sampling seed of a training: `sample.seed` for the training with `seed`, and another for each other.

        So a mean over trainings is one over sampling seeds too. All noises of a seed have the same.
        """
        return (self.sample.seed + self.training(label).seed - self.seed) % (MAX_SEED + 1)

    def networks(self) -> dict[str, dict[str, Any]]:
        """The arguments of `ngldm.model.item_settings` that say which network is trained."""
        return {**self.network.arguments(), **{key: getattr(self, key).model_dump() for key in OWN_SECTIONS}}

    def noise_arguments(self, label: str) -> dict[str, Any]:
        """`name` and `params` for `ngldm.noise.make_noise`."""
        options = dict(self.noise_options[label])
        return {"name": options.pop("distribution"), "params": options}


def parse_params(content: Mapping[str, Any], source: str = "params.yaml") -> Params:
    """Check the content of a params file.

    Args:
        content: the sections.
        source: name of the file, for messages.

    Raises:
        InputError: has a line per fault, with the key, the value and what is allowed.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = [describe_fault(fault, Params) for fault in error.errors()]
        raise InputError(f"{source}:\n  " + "\n  ".join(lines)) from None


def value_faults(content: Mapping[str, Any]) -> list[str]:
    """What is wrong with single values of a params file: keys, types, ranges. Rules between keys do not count."""
    try:
        Params.model_validate(content)
    except ValidationError as error:
        return [describe_fault(fault, Params) for fault in error.errors() if fault["type"] != "value_error"]
    return []


def load_raw(path: Path) -> dict[str, Any]:
    """The content of a YAML file, unchecked.

    Raises:
        InputError: the file is missing, is not YAML, or holds no mapping.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; run from the repository's root")
    content = read_yaml(read_bytes(path, MAX_TEXT), str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping of sections, is {type(content).__name__}")
    if strange := [key for key in content if not isinstance(key, str)]:
        raise InputError(f"{path}: {strange[0]!r} is not a name of a section")
    return content


def load_params(path: Path = PARAMS_FILE, shown: str | None = None) -> Params:
    """Read and check a params file.

    Args:
        shown: name of the file in messages; None is `path`.

    Raises:
        InputError: the file is missing, is not YAML, or has a key or value that is not allowed; or `trainings`, from
            which DVC makes its stages, is not what `trainings_of` gives.
    """
    content = load_raw(path)
    params = parse_params(content, shown or str(path))
    made = {label: made._asdict() for label, made in trainings_of(params.noises, params.seeds, params.seed).items()}
    if params.trainings != made:
        raise InputError(
            f"{shown or path}:\n  trainings: does not fit noises, seeds and seed, which it is made of. Change those by "
            f"`ngldm params --compose -S key=value` or `dvc exp run -S key=value`, or set trainings to {made}"
        )
    return params


def describe(section: BaseModel, prefix: str = "") -> list[str]:
    """A line for each parameter: key, value, meaning."""
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
