"""What those get who choose little: the best known sampler, changed by what they choose."""

import pytest

from ngldm.io.errors import InputError
from ngldm.sampling.options import SamplingOptions

BEST = {"method": "dpmpp_2m", "num_inference_steps": 20, "timestep_spacing": "karras"}  # docs/samplers.md


def test_nothing_chosen_is_the_best_sampler_of_the_noise() -> None:
    assert SamplingOptions.choose("gumbel", 1000, {}) == SamplingOptions(**BEST)
    assert SamplingOptions.choose("laplace", 1000, {}) == SamplingOptions(**BEST)
    assert SamplingOptions.choose("laplace", 8, {}).num_inference_steps == 8  # T


def test_a_choice_changes_the_best_sampler() -> None:
    chosen = SamplingOptions.choose("laplace", 1000, {"num_inference_steps": 5, "start_noise": "own"})
    assert chosen == SamplingOptions(**{**BEST, "num_inference_steps": 5}, start_noise="own")


def test_another_method_leaves_the_best_samplers_other_options() -> None:
    chosen = SamplingOptions.choose("laplace", 1000, {"method": "ddim", "eta": 0.5})
    assert chosen == SamplingOptions("ddim", 20, own={"eta": 0.5})
    assert (chosen.timestep_spacing, chosen.start_noise) == ("trailing", None)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"method": "euler"}, "sampler method 'euler'"),
        ({"method": "heun", "eta": 0.5}, "eta: not an option of method 'heun'"),
        ({"variance": "beta"}, "variance: not an option of method 'dpmpp_2m'"),
        ({"steps": 5}, "steps: not an option"),
    ],
)
def test_what_a_method_does_not_have_is_named(chosen: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SamplingOptions.choose("laplace", 1000, chosen)
