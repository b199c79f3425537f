"""The study in params.yaml."""

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
