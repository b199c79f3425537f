"""Which timesteps a sampler visits: against diffusers, by hand, and for every spacing."""

from itertools import pairwise

import numpy as np
import pytest
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.sampling.timesteps import SPACINGS, inference_timesteps, noise_levels, spaced_by_level


def trailing(total: int, n: int) -> list[int]:
    return inference_timesteps(make_schedule("cosine", total), n)


@pytest.mark.parametrize("num_inference_steps", [1, 2, 3, 4, 7, 10, 25, 30, 50, 99, 250, 300, 700, 999, 1000])
def test_timesteps_are_diffusers_trailing(num_inference_steps: int) -> None:
    scheduler = DDPMScheduler(1000, timestep_spacing="trailing")
    scheduler.set_timesteps(num_inference_steps)
    theirs = (scheduler.timesteps + 1).tolist()  # they count from 0
    # Their arange ends by a floating point comparison, which can append a 0 that is no timestep.
    assert trailing(1000, num_inference_steps) == theirs[:num_inference_steps]
    assert theirs[num_inference_steps:] in ([], [0])


@pytest.mark.parametrize(
    ("total", "steps", "expected"),
    [(10, 10, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]), (10, 5, [10, 8, 6, 4, 2]), (10, 3, [10, 7, 3]), (1, 1, [1])],
)
def test_timesteps_by_hand(total: int, steps: int, expected: list[int]) -> None:
    assert trailing(total, steps) == expected


@settings(deadline=None)
@given(total=st.integers(1, 2000), data=st.data())
def test_timesteps_descend_from_T_evenly(total: int, data: st.DataObject) -> None:
    """n distinct steps from T, each gap, the last one to 0 included, within a rounding of T / n."""
    n = data.draw(st.integers(1, total))
    timesteps = trailing(total, n)
    gaps = -np.diff([*timesteps, 0])
    assert (len(timesteps), timesteps[0]) == (n, total)
    assert gaps.min() >= 1
    assert np.abs(gaps - total / n).max() <= 1.0


@pytest.mark.parametrize("value", [0, -1, 11])
def test_inference_steps_out_of_range(value: int) -> None:
    with pytest.raises(InputError, match=f"num_inference_steps: {value} must be between 1 and .* = 10"):
        trailing(10, value)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("count", [1, 2, 5, 20, 99, 100])
def test_spacings_give_distinct_descending_steps_from_T(count: int, name: str, spacing: str) -> None:
    timesteps = inference_timesteps(make_schedule(name, 100), count, spacing)
    assert (len(timesteps), timesteps[0]) == (count, 100)
    assert timesteps[-1] >= 1
    assert all(a > b for a, b in pairwise(timesteps))


@pytest.mark.parametrize(
    ("spacing", "total", "count", "timesteps"),
    [
        ("linear", 10, 4, [10, 7, 4, 1]),
        ("linear", 100, 5, [100, 75, 50, 26, 1]),  # 75.25, 50.5 (to even), 25.75
        ("quadratic", 100, 4, [100, 49, 16, 1]),  # 10, 7, 4, 1 squared
        ("quadratic", 1000, 3, [1000, 266, 1]),  # ((sqrt(1000) + 1) / 2)^2 = 266.06
        ("quadratic", 4, 4, [4, 3, 2, 1]),  # 4, 2.8, 1.8, 1
        ("trailing", 10, 4, [10, 8, 5, 2]),  # 7.5 and 2.5 to even
    ],
)
def test_spacings_by_hand(spacing: str, total: int, count: int, timesteps: list[int]) -> None:
    assert inference_timesteps(make_schedule("linear", total), count, spacing) == timesteps


def test_unknown_spacing_lists_the_choices() -> None:
    with pytest.raises(InputError, match="timestep_spacing 'log'; choose one of: karras, linear, quadratic, trailing"):
        inference_timesteps(make_schedule("linear", 100), 5, "log")


def test_levels_of_noise_are_those_of_ddpm() -> None:
    betas = {"num_train_timesteps": 100, "beta_start": 1e-4, "beta_end": 0.2}
    levels = noise_levels(make_schedule("linear", 100, beta_start=1e-4, beta_end=0.2), [100, 40, 7, 1])
    alphas = DDPMScheduler(beta_schedule="linear", **betas).alphas_cumprod.double().numpy()
    assert levels == pytest.approx([*np.sqrt(1.0 - alphas[[99, 39, 6, 0]]), 0.0], abs=1e-5)


def test_a_level_of_noise_is_a_share_also_where_the_variance_grows() -> None:
    """Of x_0 + sigma * noise with sigma = 80 nearly all is noise, with sigma = 0.002 a part of 0.002."""
    assert noise_levels(make_schedule("edm_ve", 10), [10, 1]) == pytest.approx([1.0, 0.002, 0.0], abs=1e-4)


@pytest.mark.parametrize(
    ("levels", "count", "shown"),
    [
        ([1.0, 0.99, 0.97, 0.9, 0.75, 0.5, 0.2, 0.0], 5, [0, 4, 5, 6, 7]),  # 1, 0.75, 0.5, 0.25, 0 are wanted
        ([1.0, 0.99, 0.97, 0.9, 0.75, 0.5, 0.2, 0.0], 3, [0, 5, 7]),
        ([1.0, 0.1, 0.08, 0.02, 0.0], 5, [0, 1, 2, 3, 4]),  # all there are, though none is near 0.75
        ([1.0, 0.1, 0.08, 0.02, 0.0], 4, [0, 1, 2, 4]),  # 0.1 is nearest to 2/3, and the next to 1/3
        ([0.99, 0.98, 0.97, 0.96, 0.95, 0.0], 4, [0, 3, 4, 5]),  # none is between 0.95 and 0
        ([1.0, 0.0], 9, [0, 1]),
    ],
)
def test_states_are_shown_by_their_level_of_noise(levels: list[float], count: int, shown: list[int]) -> None:
    assert spaced_by_level(levels, count) == shown
