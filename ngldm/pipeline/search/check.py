"""The checks of a search's file against params.yaml, before any work. Rules between keys are checked for each trial."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.noise.registry import make_part
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import Params, parse_params, value_faults
from ngldm.pipeline.config.samplers import AUTO, SamplerOptions
from ngldm.pipeline.search.config import Dimension, Sampling, Search, Space
from ngldm.pipeline.search.space import TUNED, base_content, put, trial_space, with_sampler
from ngldm.sampling.best import resolve_sampler
from ngldm.sampling.classes.choice import guided_calls
from ngldm.sampling.options import SamplingOptions
from ngldm.sampling.samplers import network_calls

SECTIONS = ("diffusion", "mlp", "schedule", "train", "unet")  # what a training reads, and nothing before it
# Of the section train. They change no score of a search, or only by rounding; rungs are multiples of log_every.
WITHOUT_EFFECT = (
    "accumulate_steps",
    "checkpoint_every",
    "deterministic",
    "ema",
    "eval_every",
    "export",
    "layout",
    "log_every",
    "snapshot_every",
)
INTERVAL = ("guidance_sigma_min", "guidance_sigma_max")  # a sampler with one of these guides only some of its steps
NEEDED = ("method", "num_inference_steps")  # what all settings of a sampler have


def check_space(content: Mapping[str, Any], search: Search) -> None:
    """Check each key and each end of a range, and that trainings and samplers fit their budget.

    Raises:
        InputError: an unknown key, or one without an effect; a value that the key cannot have; a noise or a parameter
            of it that does not exist; a rung or a sampler that no trial could use.
    """
    for name, keys in (("overrides", search.overrides), ("space", search.space)):
        for key in keys:
            if key.split(".")[0] not in SECTIONS:
                raise InputError(
                    f"{name}.{key}: cannot be searched; all trials share the data set, the autoencoder and the "
                    f"reference. Keys of these can: {', '.join(SECTIONS)}; samplers have sampling.space, noises "
                    "their own"
                )
    _check_effect(search.space, "mlp" if content["dataset"]["name"] != "points" else "unet")
    _require_valid(with_sampler(content, search.sampling.rung), "sampling.rung")
    _check_samplers(content, search.sampling)
    for label in search.noises:
        base = base_content(content, search, label)
        make_part(f"noises.{label}", base["noise_options"][label])
        _require_valid(base, "overrides")
        space = trial_space(search, label)
        _check_when(space, "space")
        _check_values(base, space)
        params = parse_params(base, f"params.yaml with overrides, and with sampling.rung as sampler {TUNED!r}")
        check_noises(params)
        _check_rungs(search, params)
        _check_calls(search.sampling, params, label)


def _check_effect(space: Space, unused: str) -> None:
    """Refuse keys that change no score: a search would only find noise in them.

    Args:
        unused: the section of the network that the data do not have.
    """
    for key in _all_keys(space):
        section, _, name = key.partition(".")
        if section == unused:
            raise InputError(
                f"space.{key}: has no effect; {'points' if unused == 'unet' else 'images'} have another network"
            )
        if section == "train" and name.split(".")[0] in WITHOUT_EFFECT:
            raise InputError(f"space.{key}: has no effect on a score; set it in overrides")


def _all_keys(space: Space) -> Iterator[str]:
    """The keys of a space, and those that its mappings set."""
    for key, dimension in space.items():
        yield key
        for choice in dimension.choices or ():
            if isinstance(choice, dict):
                yield from (f"{key}.{part}" for part in choice)


def _check_samplers(content: Mapping[str, Any], sampling: Sampling) -> None:
    space = sampling.space
    known = [key for key in SamplerOptions.model_fields if key != "choices"]
    for key in space:
        if key not in known:
            raise InputError(f"sampling.space.{key}: unknown key; known here: {', '.join(known)}")
    for key in NEEDED:
        if key not in space or space[key].when:
            raise InputError(f"sampling.space.{key}: missing; each sampler has {' and '.join(NEEDED)}")
    _check_when(space, "sampling.space")
    for key, dimension in space.items():
        for value in dimension.ends():
            if (key, value) == ("method", AUTO):
                raise InputError(
                    f"sampling.space.method: {AUTO!r} has no settings to search; name the methods themselves"
                )
            made = with_sampler(content, {"method": "ddim", "num_inference_steps": 1, key: value})
            _require_valid(made, f"sampling.space.{key}: {value!r}")
    calls = _least_calls(space)
    if calls > sampling.max_calls:
        raise InputError(
            f"sampling.max_calls: {sampling.max_calls}, but each sampler of sampling.space needs {calls} network calls "
            "or more; raise it, or allow fewer steps"
        )


def _least_calls(space: Space) -> int:
    """Network calls per image of the cheapest sampler of a space.

    If all of them have guidance, a guided step makes two; an interval of noise levels has at least one such step.
    """
    least = min(space["num_inference_steps"].ends())
    calls = min(network_calls(method, least) for method in space["method"].ends())
    scale = space.get("guidance_scale")
    if scale is None or scale.when or _may_be_1(scale):
        return calls
    return calls + (calls if space.keys().isdisjoint(INTERVAL) else 1)


def _may_be_1(dimension: Dimension) -> bool:
    """Whether a guidance scale of 1, which is no guidance, is among the values."""
    values = dimension.ends()
    return 1.0 in values if dimension.choices is not None else values[0] <= 1.0 <= values[1]


def _check_values(base: Mapping[str, Any], space: Space) -> None:
    for key, dimension in space.items():
        for value in dimension.ends():
            made = deepcopy(dict(base))
            put(made, key, value)
            if key.startswith("noise_options."):
                make_part(key.rpartition(".")[0], made["noise_options"][key.split(".")[1]])
            _require_valid(made, f"space.{key}: {value!r}")


def _require_valid(content: Mapping[str, Any], what: str) -> None:
    if faults := value_faults(content):
        raise InputError(f"{what}: {faults[0]}")


def _check_when(space: Space, name: str) -> None:
    before: dict[str, Dimension] = {}
    for key, dimension in space.items():
        for other, values in dimension.when.items():
            if other not in before:
                raise InputError(f"{name}.{key}.when: {other!r} is none of the keys before it: {', '.join(before)}")
            choices = before[other].choices
            if choices is not None and (bad := [value for value in values if value not in choices]):
                raise InputError(f"{name}.{key}.when.{other}: {bad[0]!r} is none of {choices}")
        before[key] = dimension


def _check_rungs(search: Search, params: Params) -> None:
    if search.halving is None:
        return
    first, every, most = search.halving.first, params.train.log_every, params.train.max_steps
    if first % every:
        raise InputError(f"halving.first: {first} must be a multiple of train.log_every = {every}")
    if first >= most and "train.max_steps" not in _all_keys(search.space):
        raise InputError(
            f"halving.first: {first} must be below train.max_steps = {most}, or no training ends early; "
            "halving: null says that none should"
        )


def _check_calls(sampling: Sampling, params: Params, label: str) -> None:
    noise, schedule = params.noise_arguments(label)["name"], make_schedule(**params.schedule.model_dump())
    rung: dict[str, Any] = dict(resolve_sampler(sampling.rung, noise, schedule.num_train_timesteps))
    calls = guided_calls(schedule, SamplingOptions.choose(noise, schedule.num_train_timesteps, rung))
    if calls > sampling.max_calls:
        raise InputError(
            f"sampling.rung: needs {calls} network calls with the noise {label!r}, above sampling.max_calls = "
            f"{sampling.max_calls}; use fewer steps, or raise max_calls"
        )
