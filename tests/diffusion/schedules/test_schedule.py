"""Noise schedules, against diffusers and closed forms."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from hypothesis import given, settings
from hypothesis import strategies as st

from ngldm.diffusion.names import SCHEDULES, VARIANCE_PRESERVING
from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.io.errors import InputError

DIFFUSERS_NAMES = {"linear": "linear", "quadratic": "scaled_linear", "cosine": "squaredcos_cap_v2"}
FIELDS = ("betas", "alphas", "alphas_cumprod", "signal", "noise")
FLOAT32_ULP = 2.0**-24  # of numbers just below 1

names = st.sampled_from(VARIANCE_PRESERVING)
steps = st.integers(1, 200)
betas = st.floats(1e-6, 0.5)


def diffusers_scheduler(name: str, num_train_timesteps: int) -> DDPMScheduler:
    return DDPMScheduler(num_train_timesteps, beta_schedule=DIFFUSERS_NAMES[name])  # ends 1e-4 and 0.02, as ours


@pytest.mark.parametrize("num_train_timesteps", [10, 250, 1000])
@pytest.mark.parametrize("name", DIFFUSERS_NAMES)
class TestAgainstDiffusers:
    """diffusers computes in float32: beta is right to about 2^-24 relative, and each of the T factors of abar_t
    brings one rounding of 1 - beta and one of the product, each at most 2^-24 relative."""

    def test_betas(self, name: str, num_train_timesteps: int) -> None:
        theirs = diffusers_scheduler(name, num_train_timesteps).betas.double()
        ours = make_schedule(name, num_train_timesteps).betas[1:]
        torch.testing.assert_close(ours, theirs, rtol=16 * FLOAT32_ULP, atol=0)  # linspace and squares: a few more

    def test_alphas_cumprod(self, name: str, num_train_timesteps: int) -> None:
        theirs = diffusers_scheduler(name, num_train_timesteps).alphas_cumprod.double()
        ours = make_schedule(name, num_train_timesteps).alphas_cumprod[1:]
        # atol: where cosine's beta is 0.999, rounding beta shifts 1 - beta by more than 2^-24 relative, abar by less.
        torch.testing.assert_close(ours, theirs, rtol=2 * num_train_timesteps * FLOAT32_ULP, atol=FLOAT32_ULP)


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_float64_on_the_cpu_with_entry_0_the_clean_image(name: str) -> None:
    schedule = make_schedule(name, 20)
    for field in FIELDS:
        values = getattr(schedule, field)
        assert (values.dtype, values.device.type, values.shape) == (torch.float64, "cpu", (21,))
    assert [float(getattr(schedule, field)[0]) for field in FIELDS] == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert schedule.num_train_timesteps == 20


def test_defaults_are_the_papers() -> None:
    schedule = make_schedule()
    assert schedule.num_train_timesteps == 1000
    assert float(schedule.betas[1]) == pytest.approx(1e-4, rel=1e-15)
    assert float(schedule.betas[1000]) == pytest.approx(0.02, rel=1e-15)
    assert float(schedule.betas[500]) == pytest.approx(1e-4 + 499 / 999 * 0.0199, rel=1e-14)


@pytest.mark.parametrize("beta_start", [1e-4, 0.5])
def test_constant_in_closed_form(beta_start: float) -> None:
    """beta_t is beta_end throughout, abar_t = (1 - beta)^t; beta_start plays no part."""
    schedule = make_schedule("constant", 300, beta_start=beta_start, beta_end=0.03)
    t = np.arange(301)
    assert schedule.betas[1:].unique().tolist() == [0.03]
    np.testing.assert_allclose(schedule.alphas_cumprod.numpy(), 0.97**t, rtol=1e-12)


def test_quadratic_has_constant_second_differences() -> None:
    """A polynomial of degree 2 in t with the ends asked for: the third differences vanish, the second do not."""
    betas = make_schedule("quadratic", 50, 1e-3, 0.3).betas[1:].numpy()
    assert betas[[0, -1]] == pytest.approx([1e-3, 0.3], rel=1e-12)
    assert np.abs(np.diff(betas, 3)).max() < 1e-14
    assert np.diff(betas, 2).min() > 1e-5


def test_cosine_abar_in_closed_form_and_betas_capped() -> None:
    """abar_t = f(t) / f(0), f(t) = cos^2((t/T + s) / (1 + s) pi / 2), s = 0.008; f(T) = 0 needs the cap of 0.999."""
    schedule = make_schedule("cosine", 100)
    f = np.cos((np.arange(101) / 100 + 0.008) / 1.008 * math.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alphas_cumprod[:100].numpy(), f[:100] / f[0], rtol=1e-10)
    assert float(schedule.betas[100]) == 0.999
    assert float(schedule.betas[:100].max()) < 0.999


def test_cosine_ignores_beta_ends() -> None:
    assert torch.equal(make_schedule("cosine", 30, 0.3, 0.4).betas, make_schedule("cosine", 30).betas)


@settings(max_examples=60, deadline=None)
@given(name=names, num_train_timesteps=steps, beta_start=betas, beta_end=betas)
def test_fields_follow_from_betas(name: str, num_train_timesteps: int, beta_start: float, beta_end: float) -> None:
    schedule = make_schedule(name, num_train_timesteps, beta_start, beta_end)
    beta = schedule.betas.numpy()
    np.testing.assert_allclose(schedule.alphas.numpy(), 1 - beta, rtol=1e-15)
    np.testing.assert_allclose(schedule.alphas_cumprod.numpy(), np.cumprod(1 - beta), rtol=1e-12)
    signal, noise = schedule.signal.numpy(), schedule.noise.numpy()
    np.testing.assert_allclose(signal**2, schedule.alphas_cumprod.numpy(), rtol=1e-14)
    np.testing.assert_allclose(signal**2 + noise**2, 1.0, rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(name=names, num_train_timesteps=steps, beta_start=betas, beta_end=betas)
def test_abar_decreases_strictly_from_1_and_stays_positive(
    name: str, num_train_timesteps: int, beta_start: float, beta_end: float
) -> None:
    schedule = make_schedule(name, num_train_timesteps, beta_start, beta_end)
    abar = schedule.alphas_cumprod
    assert len(abar) == num_train_timesteps + 1
    assert float(abar[0]) == 1.0
    assert bool((abar.diff() < 0).all())
    assert float(abar[-1]) > 0.0
    assert bool((schedule.noise.diff() >= 0).all())


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["linear", "quadratic"]), num_train_timesteps=st.integers(2, 200), ends=st.tuples(betas, betas)
)
def test_polynomial_betas_are_monotone_between_their_ends(name: str, num_train_timesteps: int, ends: tuple) -> None:
    beta = make_schedule(name, num_train_timesteps, *ends).betas[1:].numpy()
    assert beta[[0, -1]] == pytest.approx(ends, rel=1e-12)
    assert (np.diff(beta) * np.sign(ends[1] - ends[0]) >= -1e-15).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_from_betas_by_hand(dtype: torch.dtype) -> None:
    schedule = Schedule.from_betas(torch.tensor([0.5, 0.75, 0.25], dtype=dtype))
    assert schedule.betas.tolist() == [0.0, 0.5, 0.75, 0.25]
    assert schedule.alphas_cumprod.tolist() == [1.0, 0.5, 0.125, 0.09375]
    assert schedule.noise.dtype == torch.float64


# Further schedules


def test_cubic_is_the_cube_of_a_line() -> None:
    schedule = make_schedule("cubic", 3, 1e-3, 8e-3)
    assert schedule.betas.tolist() == pytest.approx([0.0, 1e-3, 0.15**3, 8e-3])


def test_polynomial_of_any_degree() -> None:
    for degree, name in enumerate(("constant", "linear", "quadratic", "cubic")):
        named, general = make_schedule(name, 50), make_schedule("polynomial", 50, degree=degree)
        torch.testing.assert_close(general.betas, named.betas, rtol=1e-12, atol=0.0)
    fifth = make_schedule("polynomial", 3, 1e-5, 32e-5, degree=5).betas[1:]  # roots 0.1, 0.15, 0.2
    torch.testing.assert_close(fifth, torch.tensor([1e-5, 0.15**5, 32e-5], dtype=torch.float64))
    with pytest.raises(InputError, match=r"schedule.degree: -1"):
        make_schedule("polynomial", degree=-1)


def test_sigmoid_by_its_formula() -> None:
    """abar in the middle of T = 100, written out independently."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    middle = (sigmoid(3) - sigmoid(0)) / (sigmoid(3) - sigmoid(-3))
    assert float(make_schedule("sigmoid", 100).alphas_cumprod[50]) == pytest.approx(middle, rel=1e-5)


@pytest.mark.parametrize("name", ["linear", "quadratic", "cosine"])
def test_zero_terminal_snr_is_diffusers(name: str) -> None:
    schedule = make_schedule(name, 1000, zero_terminal_snr=True)
    betas = make_schedule(name, 1000).betas[1:]
    theirs = rescale_zero_terminal_snr(betas)
    torch.testing.assert_close(schedule.betas[1:], theirs, rtol=1e-9, atol=1e-12)
    assert float(schedule.alphas_cumprod[-1]) == 0.0
    assert float(schedule.alphas_cumprod[1]) == pytest.approx(1 - float(betas[0]), rel=1e-12)


def test_zero_terminal_snr_needs_two_steps() -> None:
    with pytest.raises(InputError, match="zero_terminal_snr: num_train_timesteps must be at least 2"):
        make_schedule("linear", 1, zero_terminal_snr=True)


# Bad input


def test_unknown_schedule_lists_the_choices() -> None:
    with pytest.raises(
        InputError,
        match=r"unknown schedule 'sine'; choose one of: constant, cosine, cubic, edm, .*, sigmoid",
    ):
        make_schedule("sine")


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("value", [0, -5])
def test_too_few_steps(name: str, value: int) -> None:
    with pytest.raises(InputError, match=f"num_train_timesteps: {value} must lie between 1 and 1000000"):
        make_schedule(name, value)


@pytest.mark.parametrize("key", ["beta_start", "beta_end"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("name", ["constant", "linear", "quadratic"])
def test_beta_out_of_range_is_named(name: str, value: float, key: str) -> None:
    with pytest.raises(InputError, match=f"schedule.{key}: {value} must be strictly between 0 and 1"):
        make_schedule(name, 10, **{key: value})


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_from_betas_out_of_range(value: float) -> None:
    with pytest.raises(InputError, match="every beta_t must be strictly between 0 and 1"):
        Schedule.from_betas(torch.tensor([0.1, value, 0.1]))


@pytest.mark.parametrize(
    "betas",
    [
        pytest.param(torch.full((1000,), 0.9), id="abar_T underflows to 0"),
        pytest.param(torch.tensor([1e-17, 0.1], dtype=torch.float64), id="abar_1 rounds to 1"),
    ],
)
def test_betas_beyond_float64_are_refused(betas: torch.Tensor) -> None:
    """abar_t must decrease strictly from 1 and stay positive, as `Schedule` says."""
    with pytest.raises(InputError):
        Schedule.from_betas(betas)


@pytest.mark.parametrize(
    ("key", "value"), [("num_train_timesteps", 1.5), ("num_train_timesteps", "9"), ("degree", 0.5), ("beta_start", "a")]
)
def test_a_value_of_a_wrong_type_is_named(key, value):
    with pytest.raises(InputError, match=f"schedule.{key}: {value!r} is not a"):
        make_schedule("polynomial", **{key: value})
