"""The sections: their choices are what the library makes, and each key says what it means."""

from typing import Any

import pytest
import torch
from pydantic import BaseModel, ValidationError

from ngldm.data.sources.registry import SOURCES
from ngldm.diffusion.forward import make_forward
from ngldm.diffusion.objective import Objective
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.diffusion.time_density import TimeDensity
from ngldm.io.errors import InputError
from ngldm.noise import make_noise
from ngldm.pipeline.config import params as params_module
from ngldm.pipeline.config import samplers as param_samplers
from ngldm.pipeline.config import sections as param_sections
from ngldm.pipeline.config.dataset import section as param_dataset
from ngldm.pipeline.config.sections import DiffusionParams
from ngldm.pipeline.config.study import StudyVariant
from ngldm.sampling.denoiser import X0Handling
from ngldm.sampling.samplers import SAMPLERS
from ngldm.sampling.timesteps import inference_timesteps
from ngldm.scoring.features.resizing import check_resizing
from ngldm.training.loop import FitConfig


def choices(section: type[BaseModel], field: str) -> list[str]:
    """What the schema, and so docs/reference.md, says that a key may be."""
    schema = section.model_json_schema()
    schema = schema["$defs"][section.__name__] if "$ref" in schema else schema
    entry = schema["properties"][field]
    found: list[str] = next(option["enum"] for option in [entry, *entry.get("anyOf", [])] if "enum" in option)
    return found


SCHEDULE = make_schedule("linear", 10)


def make_handling(name: str) -> X0Handling:
    return X0Handling(name, low=torch.zeros(1), high=torch.ones(1))


def make_diffusion(**options: Any) -> Diffusion:
    return Diffusion.make(make_noise("laplace"), SCHEDULE, objective="x0", **options)


MAKERS = [  # section, field, what the library makes of each name
    (param_sections.ScheduleParams, "name", lambda name: make_schedule(name, 10)),
    (param_sections.DiffusionParams, "forward", lambda name: make_forward(name, make_noise("laplace"), SCHEDULE)),
    (param_sections.DiffusionParams, "objective", Objective),
    (param_sections.DiffusionParams, "weighting", lambda name: Objective("eps", name)),
    (param_sections.DiffusionParams, "preconditioning", lambda name: make_diffusion(preconditioning=name)),
    (param_sections.DiffusionParams, "time_density", TimeDensity),
    (param_sections.EvaluateParams, "resizing", check_resizing),
    (param_samplers.SamplerOptions, "timestep_spacing", lambda name: inference_timesteps(SCHEDULE, 5, name)),
    (param_samplers.SamplerOptions, "x0_handling", make_handling),
]


@pytest.mark.parametrize(("section", "field", "make"), MAKERS, ids=[f"{s.__name__}.{f}" for s, f, _ in MAKERS])
def test_the_library_makes_every_choice_and_no_other(section, field, make):
    names = choices(section, field)
    for name in names:
        make(name)
    with pytest.raises(InputError) as caught:
        make("nonsense")
    assert all(name in str(caught.value) for name in names)


def test_methods_and_data_sets_are_those_of_the_registries():
    assert sorted(choices(param_samplers.SamplerOptions, "method")) == sorted(["auto", *SAMPLERS])
    assert sorted(choices(param_dataset.DatasetParams, "name")) == sorted(SOURCES)


def test_fit_section_has_what_the_training_loop_reads():
    assert set(param_sections.Fit.model_fields) == set(FitConfig.__annotations__)


def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    classes = [
        c for module in (param_sections, param_dataset, param_samplers, params_module) for c in vars(module).values()
    ]
    return list({c: None for c in classes if isinstance(c, type) and issubclass(c, model) and c is not model})


@pytest.mark.parametrize("section", sections(param_sections.Section), ids=lambda s: s.__name__)
def test_every_value_says_what_it_means(section):
    for name, field in section.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert field.description or is_section or name == "sampler_options", f"{section.__name__}.{name}"


@pytest.mark.parametrize(("weighting", "gamma"), [("none", None), ("min_snr", None), ("min_snr", 2.0), ("p2", 0.5)])
def test_a_gamma_belongs_to_a_weighting(weighting: str, gamma: float | None) -> None:
    DiffusionParams(forward="marginal", objective="eps", weighting=weighting, gamma=gamma)


def test_a_gamma_without_effect_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"gamma: 2\.0 has no effect .* 'none'"):
        DiffusionParams(forward="marginal", objective="eps", weighting="none", gamma=2.0)


def test_a_variant_without_a_weighting_has_no_gamma_of_another() -> None:
    shared = {"weighting": "min_snr", "gamma": 2.0}
    assert {**shared, **StudyVariant(noise={}, weighting="none").replaced_diffusion()}["gamma"] is None
    assert {**shared, **StudyVariant(noise={}).replaced_diffusion()}["gamma"] == 2.0
