"""What is refused of a search before any work, and that the tracked searches are not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.params import PARAMS_FILE, load_raw
from ngldm.pipeline.search.check import check_space
from ngldm.pipeline.search.config import Search, load_search
from ngldm.pipeline.search.space import rungs


def read() -> tuple[dict[str, Any], Search]:
    return load_raw(PARAMS_FILE), load_search("tiny")


@pytest.mark.parametrize(("name", "recipe"), [("digits", "mini"), ("cifar10", "best"), ("smoke", "smoke")])
def test_the_tracked_searches_fit_their_recipes(workspace: Path, name: str, recipe: str) -> None:
    compose_params(PARAMS_FILE, [f"recipe={recipe}"])
    content, search = load_raw(PARAMS_FILE), load_search(name)
    check_space(content, search)
    stops = rungs(search, search.overrides["train.max_steps"])
    assert stops
    assert all(step % search.overrides["train.checkpoint_every"] == 0 for step in stops), "a rung loses no steps"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"space": {"train.lrr": {"low": 1.0, "high": 2.0}}}, "space.train.lrr: 1.0: train.lrr: unknown key; known here"),
    ({"space": {"trian.lr": {"low": 1.0, "high": 2.0}}}, "space.trian.lr: cannot be searched"),
    ({"space": {"latents.batch_size": {"low": 1, "high": 2}}}, "cannot be searched; all trials share"),
    ({"space": {"train.lr": {"low": -1.0, "high": 2.0}}}, "space.train.lr: -1.0: train.lr: -1.0 is not allowed"),
    ({"space": {"train.max_steps": {"low": 1.5, "high": 2.5}}}, "train.max_steps: 1.5 is not allowed"),
    ({"space": {"schedule.name": {"choices": ["cosine", "sine"]}}}, "schedule.name: 'sine' is not allowed"),
    ({"space": {"train.lr.more": {"low": 1, "high": 2}}}, "train.lr.more"),
    ({"overrides": {"train.max_stepz": 3}}, "^overrides: train.max_stepz: unknown key"),
    ({"overrides": {"dataset.name": "cifar10"}}, "^overrides.dataset.name: cannot be searched"),
    ({"space": {"train.log_every": {"choices": [5, 10]}}}, "space.train.log_every: has no effect on a score"),
    ({"space": {"train": {"choices": [{"lr": 0.1, "export": "best"}]}}}, "space.train.export: has no effect"),
    ({"space": {"mlp.width": {"low": 8, "high": 16}}}, "space.mlp.width: has no effect; images have another network"),
    ({"noises": {"paper": {}}}, "noises.paper: conf/noise/paper.yaml has no noise of that label; choose one of: gauss"),
    ({"halving": {"first": 10, "reduction": 2}}, "halving.first: 10 must be below train.max_steps = 10"),
    ({"noises": {"laplase": {}}}, "unknown noise 'laplase'; choose one of: .*laplace"),
    ({"noises": {"student_t": {"nu": {"low": 3.0, "high": 4.0}}}}, "student_t.*nu"),
    ({"noises": {"student_t": {"df": {"low": 1.0, "high": 4.0}}}}, "student_t.*df"),
    ({"noises": {"annealed": {}}}, "annealed.*use ddim with eta 0"),
    ({"halving": {"first": 7, "reduction": 2}}, "halving.first: 7 must be a multiple of train.log_every = 5"),
    (
        {"space": {"train.lr": {"low": 0.1, "high": 0.2, "when": {"schedule.name": ["cosine"]}}}},
        "train.lr.when: 'schedule.name' is none of the keys before it",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message for _, message in BAD])
def test_a_wrong_space_is_refused_before_any_work(
    write_search: Callable[..., None], changes: dict[str, Any], message: str
) -> None:
    write_search(**changes)
    with pytest.raises(InputError, match=message):
        check_space(*read())


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"num_inference_steps": None}, "sampling.space.num_inference_steps: missing"),
        ({"method": None}, "sampling.space.method: missing"),
        ({"method": {"choices": ["auto", "ddim"]}}, "sampling.space.method: 'auto' has no settings to search"),
        ({"choices": {"choices": [{}]}}, "sampling.space.choices: unknown key"),
        ({"steps": {"low": 1, "high": 2}}, "sampling.space.steps: unknown key; known here: method"),
        ({"method": {"choices": ["euler"]}}, "sampling.space.method: 'euler'"),
        ({"eta": {"low": 0.0, "high": 2.0}}, "sampling.space.eta: 2.0"),
    ],
)
def test_a_wrong_space_of_samplers_is_refused(
    write_search: Callable[..., None], space: dict[str, Any], message: str
) -> None:
    write_search()
    content, search = read()
    sampling = search.sampling.model_dump()
    sampling["space"] = {key: value for key, value in {**sampling["space"], **space}.items() if value is not None}
    wrong = Search.model_validate({**search.model_dump(), "sampling": sampling})
    with pytest.raises(InputError, match=message):
        check_space(content, wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_calls": 2},
            "sampling.rung: needs 3 network calls with the noise 'laplace', above sampling.max_calls = 2",
        ),
        ({"max_calls": 1}, "sampling.max_calls: 1, but each sampler of sampling.space needs 2 network calls or more"),
        ({"rung": {"num_inference_steps": 3}}, r"^sampling.rung: sampler_options.tuned.method: missing"),
        ({"rung": {"method": "ddim", "num_inference_steps": 51}}, "with sampling.rung as sampler 'tuned':\n"),
    ],
)
def test_a_budget_of_calls_that_no_sampler_keeps_is_refused(
    write_search: Callable[..., None], changes: dict[str, Any], message: str
) -> None:
    write_search()
    content, search = read()
    wrong = Search.model_validate({**search.model_dump(), "sampling": {**search.sampling.model_dump(), **changes}})
    with pytest.raises(InputError, match=message):
        check_space(content, wrong)


SCALE = {"guidance_scale": {"choices": [1.5, 3.0]}}
OFTEN = {"guidance_sigma_max": {"choices": [0.5, 2.0]}}
NEEDS_5 = "each sampler of sampling.space needs 5 network calls or more"


@pytest.mark.parametrize(
    ("max_calls", "rung", "more", "message"),
    [
        (7, {"guidance_scale": 2.0}, {}, "sampling.rung: needs 8 network calls"),
        (8, {"guidance_scale": 2.0}, {}, None),
        (4, {"guidance_scale": 2.0, "guidance_sigma_max": 1.1}, {}, "sampling.rung: needs 6 network calls"),
        (7, {}, SCALE, "each sampler of sampling.space needs 8 network calls or more"),
        (8, {}, SCALE, None),
        (4, {}, {**SCALE, **OFTEN}, NEEDS_5),
        (5, {}, {**SCALE, **OFTEN}, None),
        (4, {}, {"guidance_scale": {"low": 1.0, "high": 3.0}}, None),  # 1 is no guidance
        (4, {}, {"guidance_scale": {"choices": [2.0], "when": {"method": ["ddim"]}}}, None),
    ],
)
def test_a_guided_step_counts_as_two_calls(
    write_search: Callable[..., None], max_calls: int, rung: dict[str, Any], more: dict[str, Any], message: str | None
) -> None:
    """Two of four steps have a noise level up to 1.1: at t = T / 2, tan(pi / 4) = 1 but for the small offset."""
    write_search()
    content, search = read()
    content["network"] |= {"num_classes": "auto", "label_dropout": 0.1}
    sampling = search.sampling.model_dump()
    four = {"method": {"choices": ["dpmpp_2m", "ddim"]}, "num_inference_steps": {"choices": [4]}}
    sampling |= {"max_calls": max_calls, "space": {**four, **more}}
    sampling["rung"] = {"method": "ddim", "num_inference_steps": 4, **rung}
    search = Search.model_validate({**search.model_dump(), "sampling": sampling})
    if message is None:
        check_space(content, search)
        return
    with pytest.raises(InputError, match=message):
        check_space(content, search)
