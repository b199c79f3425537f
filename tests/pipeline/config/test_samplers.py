"""Samplers in params.yaml: which options go together, and what `auto` stands for."""

from contextlib import suppress
from dataclasses import asdict
from inspect import signature
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ngldm.diffusion.names import SHAPE
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.device import CHANNELS_LAST
from ngldm.io.errors import InputError
from ngldm.pipeline.config import samplers as param_samplers
from ngldm.pipeline.config.params import parse_params
from ngldm.sampling.best import SamplerSettings, best_sampler, resolve_sampler
from ngldm.sampling.names import COMMON_OPTIONS, SAMPLER_OPTIONS
from ngldm.sampling.samplers import SAMPLERS
from ngldm.training.config import FitConfig
from ngldm.training.names import ADAMW


def test_each_sampler_takes_the_options_that_params_yaml_grants_it(content):
    """The functions' own keyword arguments, and the noise of the steps for those that add any of the user's choice."""
    values = {"eta": 0.5, "variance": "posterior", "refresh": 0.5, "step_noise": "gaussian"}
    for method, function in SAMPLERS.items():
        own = {p.name for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY} - {"callback"}
        granted = set()
        for key, value in values.items():
            content["sampler_options"]["ddim"] = {"method": method, "num_inference_steps": 5, key: value}
            with suppress(InputError):
                parse_params(content)
                granted.add(key)
        assert granted - {"step_noise"} == own
        assert ("step_noise" in granted) == (bool(own) and method != "stein")  # its noise is Gaussian


def test_a_samplers_params_are_the_settings_of_the_library():
    settings = set(SamplerSettings.__annotations__)
    assert set(param_samplers.SamplerOptions.model_fields) - {"choices"} == settings
    assert {*COMMON_OPTIONS, *chain(*SAMPLER_OPTIONS.values())} == settings


def test_auto_is_the_best_known_sampler_unless_choices_say_otherwise(content):
    def resolved(options: dict[str, Any], noise: str, steps: int = 1000) -> Any:
        content["sampler_options"]["auto"] = {"method": "auto", **options}
        return resolve_sampler(parse_params(content).sampler_options["auto"].settings(), noise, steps)

    own = {"method": "ddim", "num_inference_steps": 5}
    assert resolved({}, "laplace") == best_sampler("laplace")
    assert resolved({}, "laplace", 7)["num_inference_steps"] == 7  # no more steps than T
    assert resolved({"choices": {"laplace": own}}, "laplace") == own
    assert resolved({"choices": {"laplace": own}}, "gumbel") == best_sampler("gumbel")
    assert resolved({"choices": {"default": own}}, "gumbel") == own


@pytest.mark.parametrize("noise", ["gaussian", "laplace", "exponential", "uniform", "gumbel"])
def test_the_tracked_file_gives_each_noise_the_sampler_that_docs_study_md_found(content, noise):
    """From its own start, which is what the sampler takes unless told: docs/samplers.md."""
    auto = parse_params(content).sampler_options["auto"].settings()
    expected = {"method": "dpmpp_2m", "num_inference_steps": 20, "timestep_spacing": "karras"}
    assert resolve_sampler(auto, noise, 1000) == expected


def test_a_samplers_own_settings_in_conf_are_the_librarys_defaults(root: Path) -> None:
    conf = YAML(typ="safe").load(root / "conf" / "config.yaml")["sampler_options"]
    for options in conf.values():
        for key in set(SAMPLER_OPTIONS.get(options["method"], ())) & set(options):
            assert options[key] == signature(SAMPLERS[options["method"]]).parameters[key].default, key


def test_training_and_schedule_in_conf_are_the_librarys_defaults(root: Path) -> None:
    conf = YAML(typ="safe").load(root / "conf" / "config.yaml")
    left_out = {
        "optimizer": ADAMW,
        "layout": CHANNELS_LAST,
        "deterministic": True,
    }  # as older versions had it, so that no training starts anew
    train = {**left_out, **conf["train"]}
    assert {key: train[key] for key in FitConfig.__annotations__} == asdict(FitConfig())
    defaults = {key: parameter.default for key, parameter in signature(make_schedule).parameters.items()}
    assert conf["schedule"] == {**{key: defaults[key] for key in defaults if key != "shape"}, **SHAPE}
