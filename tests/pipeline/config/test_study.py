"""The study in params.yaml."""

from typing import Any

import pytest

from ngldm.diffusion.objective import Objective
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.pipeline.config.params import parse_params


def test_eps_without_signal_is_refused_alike_in_params_variants_and_library(content):
    words = r"objective: 'eps' .* x_T is pure noise"
    variant = {"noise": {"distribution": "laplace"}, "schedule": {"zero_terminal_snr": True}}
    content["diffusion"]["objective"] = "eps"
    content["study"] |= {"variants": {"a": variant}, "samplers": {"s": {"method": "heun", "num_inference_steps": 5}}}
    with pytest.raises(InputError, match=rf"study\.variants\.a\.{words}"):
        parse_params(content)
    content["study"]["variants"] = {}
    content["schedule"]["zero_terminal_snr"] = True
    with pytest.raises(InputError, match=rf"  diffusion\.{words}"):
        parse_params(content)
    with pytest.raises(InputError, match=rf"^diffusion\.{words}"):
        Objective("eps").check(make_schedule("linear", 10, zero_terminal_snr=True))


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"noise": {}}, "study.variants.a.noise.distribution: missing"),
        ({"noise": {"distribution": "laplace"}, "samplers": ["none"]}, "study.variants.a.samplers: 'none' is none of"),
        ({"noise": {"distribution": "laplace"}, "samplers": []}, "variants.a.samplers: .* at least 1 item"),
        ({"noise": {"distribution": "laplace"}, "data": []}, "variants.a.data: .* at least 1 item"),
        (
            {"noise": {"distribution": "laplace"}, "train": {"accumulate_steps": 3}},
            "a.train.accumulate_steps: 3 must divide",
        ),
        ({"noise": {"distribution": "laplace"}, "objective": "score"}, "study.variants.a.objective: 'score'"),
        ({"noise": {"distribution": "laplace"}, "schedule": {"name": "spiral"}}, "variants.a.schedule.name: 'spiral'"),
        (
            {"noise": {"distribution": "laplace"}, "objective": "eps", "schedule": {"zero_terminal_snr": True}},
            "variants.a.objective: 'eps'",
        ),
        (
            {"noise": {"distribution": "laplace"}, "samplers": ["s"], "schedule": {"num_train_timesteps": 3}},
            "study.samplers.s.num_inference_steps: 5 is above",
        ),
    ],
)
def test_bad_variants_are_named(variant: dict[str, Any], words: str, content: dict[str, Any]) -> None:
    content["study"]["variants"] = {"a": variant}
    content["study"]["samplers"] = {"s": {"method": "heun", "num_inference_steps": 5}}
    with pytest.raises(InputError, match=words):
        parse_params(content)


def test_variants_need_samplers_and_sets_that_have_a_covariance(content: dict[str, Any]) -> None:
    content["study"] |= {"variants": {"a": {"noise": {"distribution": "laplace"}}}, "samplers": {}}
    with pytest.raises(InputError, match=r"study.samplers: \{\}, but there are variants to score; name at least one"):
        parse_params(content)
    content["study"]["num_images"] = 1
    with pytest.raises(InputError, match=r"study\.num_images: 1 is not allowed: input should be greater than or equal"):
        parse_params(content)
