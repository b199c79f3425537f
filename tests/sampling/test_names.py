"""Which settings of a sampler go together, before torch is loaded."""

import re
from inspect import signature

import pytest

from ngldm.io.errors import InputError
from ngldm.sampling.names import COMMON_OPTIONS, SAMPLER_OPTIONS, VARIANCES, check_noise_choice, check_settings
from ngldm.sampling.samplers import SAMPLERS


def test_every_sampler_is_named_with_the_options_that_its_function_has() -> None:
    assert SAMPLER_OPTIONS.keys() == SAMPLERS.keys()
    for method, function in SAMPLERS.items():
        own = {p.name for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY} - {"callback"}
        assert set(SAMPLER_OPTIONS[method]) - {"step_noise"} == own


@pytest.mark.parametrize("method", SAMPLER_OPTIONS)
def test_a_method_takes_its_own_options_and_the_common_ones_alone(method: str) -> None:
    everything = {key for options in SAMPLER_OPTIONS.values() for key in options}
    for key in everything - set(SAMPLER_OPTIONS[method]):
        with pytest.raises(InputError, match=f"^{key}: not an option of method '{method}'"):
            check_settings({"method": method, key: "own"})
        check_settings({"method": method, key: None})  # as good as not given
    numbers = {"eta": 1.0, "refresh": 0.5, "sigma_max": 9.0, "x0_limit": 3.0, "num_inference_steps": 5}
    numbers |= {"guidance_scale": 2.0, "guidance_rescale": 0.5, "guidance_sigma_min": 0.1, "guidance_sigma_max": 9.0}
    common = {"x0_handling": "clip", "timestep_spacing": "karras", "method": method}
    options = (*COMMON_OPTIONS, *SAMPLER_OPTIONS[method])
    check_settings(dict.fromkeys(options, "own") | {key: numbers[key] for key in options if key in numbers} | common)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "euler"}, "unknown sampler method 'euler'; choose one of: ancestral, ddim, dpmpp_2m, heun, "),
        ({}, "unknown sampler method 'None'"),
        (
            {"method": "heun", "steps": 5},
            "steps: not an option of method 'heun'; it is deterministic and has no own options",
        ),
        ({"method": "ddim", "variance": VARIANCES[0]}, "its own options are ['eta', 'step_noise']"),
        ({"method": "heun", "x0_limit": 1.0}, "x0_limit: not an option of x0_handling None, only of clip and dynamic"),
        ({"method": "heun", "x0_handling": "range", "x0_limit": 1.0}, "x0_limit: not an option of x0_handling 'range'"),
        ({"method": "heun", "sigma_max": 9.0}, "sigma_max: not an option of timestep_spacing None, only of karras"),
        ({"method": "heun", "start_noise": "pink"}, "start_noise: 'pink' is not one of"),
        ({"method": "ddim", "step_noise": "x_T"}, "step_noise: 'x_T' is not one of"),
    ],
)
def test_what_does_not_go_together_is_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        check_settings(settings)


@pytest.mark.parametrize("choice", ["own", "gaussian", "averaged:1", "averaged:40", "averaged:1000"])
def test_both_noises_can_be_the_models_gaussian_or_averaged(choice: str) -> None:
    for key in ("start_noise", "step_noise"):
        check_noise_choice(key, choice)


@pytest.mark.parametrize(
    "choice",
    [
        "",
        "averaged",
        "averaged:0",
        "averaged:04",
        "averaged:1.5",
        "averaged:4 ",
        "x_t",
        "averaged:1001",
        "averaged:" + "9" * 5000,
    ],
)
def test_any_other_noise_is_refused_with_the_choices(choice: str) -> None:
    for key, choices in (("start_noise", "averaged:<n>, x_T"), ("step_noise", "averaged:<n>")):
        with pytest.raises(
            InputError,
            match=rf"{key}: {re.escape(repr(choice))} is not one of: .*{choices} \(n must lie between 1 and 1000",
        ):
            check_noise_choice(key, choice)


def test_what_is_left_of_the_image_is_a_start_alone() -> None:
    check_noise_choice("start_noise", "x_T")
    with pytest.raises(InputError, match="step_noise"):
        check_noise_choice("step_noise", "x_T")
