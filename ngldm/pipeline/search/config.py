"""A file of conf/search: which settings are searched, how, and with which budget."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from ngldm.io.errors import InputError, unknown
from ngldm.io.limits import MAX_ITEMS, MAX_REPEATS
from ngldm.pipeline.config.params import Seed, load_raw
from ngldm.pipeline.config.reading.faults import describe_fault
from ngldm.pipeline.config.sections import Batch, Label, OneOf, Repeats, Section, Steps
from ngldm.sampling.names import MAX_SEED

FOLDER = Path("conf/search")
OPTIMISERS = ("tpe", "cmaes", "random")
MAX_TRIALS = 100_000  # of each noise; the optimiser looks at all of them for each proposal
PRIOR = ("trials", "attempts", "confirm")  # keys that may change while a search goes on


class Dimension(Section):
    """The values that a setting may have: numbers from `low` to `high`, or `choices`."""

    low: int | float | None = Field(default=None, description="least value; two whole numbers make a whole number")
    high: int | float | None = Field(default=None, description="greatest value")
    log: bool = Field(default=False, description="search on a logarithmic scale")
    choices: list[Any] | None = Field(
        default=None, description="the values; a mapping sets several keys of a section at once"
    )
    when: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="search this key only if keys before it have one of these values; else it stays as it is",
    )

    @model_validator(mode="after")
    def _has_values(self) -> "Dimension":
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices: not together with low, high and log")
            if not self.choices:
                raise ValueError("choices: [] is an empty range; name at least one value")
            if twice := [one for number, one in enumerate(self.choices) if one in self.choices[:number]]:
                raise ValueError(f"choices: {twice[0]!r} is named twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("low and high, or choices: missing")
        if not self.low < self.high:
            raise ValueError(f"low: {self.low} to high: {self.high} is an empty range; low must be below high")
        if self.log and self.low <= 0:
            raise ValueError(f"low: {self.low} must be above 0 with log")
        return self

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> list[Any]:
        """All choices, or the least and the greatest number."""
        if self.choices is not None:
            return self.choices
        assert self.low is not None
        assert self.high is not None
        return [self.low, self.high] if self.is_whole else [float(self.low), float(self.high)]


Space = dict[str, Dimension]


class Sampling(Section):
    """The search for sampler settings, on each trained model anew, without training again."""

    settings: Repeats = Field(description="sampler settings that are scored on each trained model")
    num_images: Annotated[int, Field(ge=2, le=MAX_ITEMS)] = Field(description="images per score")
    batch_size: Batch = Field(description="images per network call")
    max_calls: Steps = Field(
        description="largest number of network calls per image (two of a guided step); others are drawn again"
    )
    rung: dict[str, Any] = Field(
        default_factory=lambda: {"method": "auto"},
        description="the sampler that scores a model while it is trained, and the first that scores it afterwards",
    )
    space: Space = Field(description="key of sampler_options.<label> to its values")


class Halving(Section):
    """Successive halving: a training goes on at a rung only if its score is among the best there."""

    first: Steps = Field(description="steps of the first rung; it must be a multiple of train.log_every")
    reduction: Annotated[int, Field(ge=2, le=MAX_REPEATS)] = Field(
        description="each rung has so many times the steps of the last; one in so many trainings goes on"
    )


class Confirm(Section):
    """The scores of the winners on seeds that the search did not use."""

    train_seeds: Repeats = Field(default=3, description="trainings of each winner")
    sample_seeds: Repeats = Field(default=3, description="sets of images of each training")
    first_seed: Annotated[int, Field(ge=1, le=MAX_SEED - MAX_REPEATS)] = Field(
        default=1000, description="of both; the search used `seed` for trainings and for images"
    )


class Search(Section):
    """All of a file of conf/search."""

    trials: Annotated[int, Field(gt=0, le=MAX_TRIALS)] = Field(
        description="trials of each noise: the budget, the same for all"
    )
    startup: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = Field(
        description="random trials before the optimiser begins, the same for all noises; the first has the settings "
        "of params.yaml"
    )
    optimiser: Annotated[str, OneOf(OPTIMISERS)] = Field(description="what proposes the next trial (Optuna)")
    seed: Seed = Field(default=0, description="of the trainings, the images and the startup")
    attempts: Repeats = Field(default=5, description="a trial that fails or is killed so often is given up")
    halving: Halving | None = Field(description="null: every training runs to its end")
    overrides: dict[str, Any] = Field(default_factory=dict, description="keys of params.yaml that differ in all trials")
    noises: Annotated[dict[Label, Space], Field(min_length=1)] = Field(
        description="label of a noise to the space of its own parameters"
    )
    space: Space = Field(description="key of params.yaml to its values")
    sampling: Sampling
    confirm: Confirm = Confirm()

    @model_validator(mode="after")
    def _confirmed_on_other_seeds(self) -> "Search":
        first = self.confirm.first_seed
        last = first + max(self.confirm.train_seeds, self.confirm.sample_seeds) - 1
        if first <= self.seed <= last:
            raise ValueError(
                f"confirm.first_seed: {first} to {last} have the search's own seed, {self.seed}; the winners need "
                "others"
            )
        return self


def load_search(name: str) -> Search:
    """Read conf/search/<name>.yaml.

    Raises:
        InputError: there is no such file, it is not YAML, or has a key or value that is not allowed.
    """
    path, known = FOLDER / f"{name}.yaml", [file.stem for file in FOLDER.glob("*.yaml")]
    if name not in known:
        raise unknown("search", name, known)
    try:
        return Search.model_validate(load_raw(path))
    except ValidationError as error:
        lines = [describe_fault(fault, Search) for fault in error.errors()]
        raise InputError(f"{path}: {'; '.join(lines)}") from None
