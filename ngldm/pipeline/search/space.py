"""The space of a search: what a trial draws from it, and the params that this makes."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ngldm.io.errors import InputError, unknown
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import Params, load_raw, parse_params
from ngldm.pipeline.search.config import FOLDER, Dimension, Search, Space

if TYPE_CHECKING:
    from optuna.trial import Trial

NOISE_FOLDER = FOLDER.parent / "noise"
TUNED = "tuned"  # label of the winner's sampler
Values = dict[str, Any]  # key of params.yaml, or of a sampler, to its value


def noise_options(content: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The options of a noise: those of params.yaml, else of conf/noise/<label>.yaml.

    Raises:
        InputError: none of these has this label.
    """
    if label in content["noise_options"]:
        return dict(content["noise_options"][label])
    path = NOISE_FOLDER / f"{label}.yaml"
    if not path.is_file():
        known = {*content["noise_options"], *(file.stem for file in NOISE_FOLDER.glob("*.yaml"))}
        raise unknown("noise", label, known)
    entries = load_raw(path)["noise_options"]
    if label not in entries:
        raise InputError(f"noises.{label}: {path} has no noise of that label; choose one of: {', '.join(entries)}")
    return dict(entries[label])


def base_content(content: Mapping[str, Any], search: Search, label: str) -> dict[str, Any]:
    """The content of params.yaml for one noise, with the search's overrides and the sampler of the rungs."""
    made = deepcopy(dict(content))
    made["noises"], made["noise_options"] = [label], {label: noise_options(content, label)}
    made["seed"] = search.seed
    made["study"]["variants"] = {}  # they are checked with the other sections, and are no part of a trial
    for key, value in search.overrides.items():
        put(made, key, value)
    return with_sampler(made, search.sampling.rung)


def with_sampler(content: Mapping[str, Any], sampler: Mapping[str, Any]) -> dict[str, Any]:
    """The content with this sampler as the only one, under the label `TUNED`."""
    curve = {**content["curve"], "sampler": TUNED}
    return {**content, "samplers": [TUNED], "sampler_options": {TUNED: dict(sampler)}, "curve": curve}


def put(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a key such as `train.lr`. If section and value are mappings, the keys of the value are set."""
    *sections, last = key.split(".")
    for section in sections:
        below = content.setdefault(section, {})
        if not isinstance(below, dict):
            raise InputError(f"{key}: {section} is no section")
        content = below
    old = content.get(last)
    content[last] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else deepcopy(value)


def get(content: Mapping[str, Any], key: str) -> Any:
    """The value of a key such as `train.lr`; None if there is none."""
    value: Any = content
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def trial_space(search: Search, label: str) -> Space:
    """Key of params.yaml to its values, for one noise."""
    own = {f"noise_options.{label}.{key}": dimension for key, dimension in search.noises[label].items()}
    return {**search.space, **own}


def rungs(search: Search, max_steps: int) -> list[int]:
    """The steps before the last at which a training may end."""
    found: list[int] = []
    step = search.halving.first if search.halving else max_steps
    while step < max_steps:
        found.append(step)
        step *= search.halving.reduction if search.halving else 1
    return found


def suggest(trial: "Trial", space: Space) -> Values:
    """The value of each key that the trial searches, in the order of the space."""
    values: Values = {}
    for key, dimension in space.items():
        if not is_asked(dimension, values):
            continue
        if dimension.choices is not None:
            names = [choice_name(choice) for choice in dimension.choices]
            values[key] = dimension.choices[names.index(trial.suggest_categorical(key, names))]
        elif dimension.is_whole:
            low, high = dimension.ends()
            values[key] = trial.suggest_int(key, low, high, log=dimension.log)
        else:
            low, high = dimension.ends()
            values[key] = trial.suggest_float(key, low, high, log=dimension.log)
    return values


def is_asked(dimension: Dimension, values: Mapping[str, Any]) -> bool:
    """Whether the keys before it have the values that a key needs to be searched."""
    return all(key in values and values[key] in allowed for key, allowed in dimension.when.items())


def choice_name(choice: Any) -> Any:
    """How Optuna stores a choice: a list or a mapping as JSON."""
    return json.dumps(choice) if isinstance(choice, list | dict) else choice


def present(space: Space, read: Callable[[str], Any]) -> Values:
    """The values of a space that settings have now, as Optuna stores them; those outside the space are left out.

    Args:
        read: key to its value, None if there is none.
    """
    values: Values = {}
    for key, dimension in space.items():
        value = read(key)
        if not is_asked(dimension, values):
            continue
        if dimension.choices is not None:
            if inside := [choice for choice in dimension.choices if _agrees(choice, value)]:
                values[key] = choice_name(inside[0])
        elif value is not None and dimension.ends()[0] <= value <= dimension.ends()[1]:
            values[key] = value
    return values


def _agrees(choice: Any, value: Any) -> bool:
    """Whether a value is the choice; for mappings, has all its entries."""
    if isinstance(choice, dict) and isinstance(value, dict):
        return all(key in value and _agrees(part, value[key]) for key, part in choice.items())
    return type(choice) is type(value) and bool(choice == value)


def made_params(base: Mapping[str, Any], values: Mapping[str, Any], sampler: Mapping[str, Any] | None) -> Params:
    """The params of a trial, checked with all rules.

    Args:
        base: of `base_content`.
        values: of `suggest`.
        sampler: its settings; None keeps those of the base.

    Raises:
        InputError: two values exclude each other.
    """
    content = deepcopy(dict(base))
    for key, value in values.items():
        put(content, key, value)
    params = parse_params(content if sampler is None else with_sampler(content, sampler), "trial")
    check_noises(params)
    return params
