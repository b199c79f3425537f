"""What `auto` means: the table of best known samplers, or what params.yaml puts in its place."""

import pytest

from ngldm.noise import noise_names
from ngldm.sampling.best import best_sampler, resolve_sampler
from ngldm.sampling.options import SamplingOptions
from ngldm.sampling.samplers import network_calls

OWN = {"method": "ddim", "num_inference_steps": 5, "eta": 0.5}


@pytest.mark.parametrize("noise", noise_names())
def test_the_best_of_every_noise_can_be_chosen_and_makes_at_most_25_calls(noise: str) -> None:
    options = SamplingOptions(**best_sampler(noise))
    assert network_calls(options.method, options.num_inference_steps) <= 25


@pytest.mark.parametrize(("total", "steps"), [(1, 1), (7, 7), (20, 20), (1000, 20)])
def test_it_makes_no_more_steps_than_the_model_has(total: int, steps: int) -> None:
    assert best_sampler("gumbel", total)["num_inference_steps"] == steps
    assert best_sampler("gumbel")["num_inference_steps"] == 20  # the table itself has not changed


def test_a_sampler_that_is_named_is_itself() -> None:
    found = resolve_sampler(OWN, "laplace", 1000)
    assert found == OWN
    assert found is not OWN


def test_auto_is_the_choice_for_the_noise_then_the_default_then_the_table() -> None:
    other = {"method": "heun", "num_inference_steps": 9}
    assert resolve_sampler({"method": "auto"}, "laplace", 1000) == best_sampler("laplace")
    assert resolve_sampler({"method": "auto", "choices": None}, "laplace", 7) == best_sampler("laplace", 7)
    choices = {"method": "auto", "choices": {"laplace": OWN, "default": other}}
    assert resolve_sampler(choices, "laplace", 1000) == OWN
    assert resolve_sampler(choices, "gumbel", 1000) == other
    assert resolve_sampler({"method": "auto", "choices": {"laplace": OWN}}, "gumbel", 7) == best_sampler("gumbel", 7)


def test_a_choice_can_be_changed_without_changing_the_settings() -> None:
    choices = {"method": "auto", "choices": {"laplace": dict(OWN)}}
    resolve_sampler(choices, "laplace", 1000)["eta"] = 0.0
    assert resolve_sampler(choices, "laplace", 1000) == OWN
