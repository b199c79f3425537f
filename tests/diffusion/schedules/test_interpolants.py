"""Schedules that are not variance preserving, beside diffusers and closed forms; the rates of all schedules."""

import math

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler, FlowMatchEulerDiscreteScheduler

from ngldm.diffusion.forward import make_forward
from ngldm.diffusion.names import SCHEDULES, SHAPE
from ngldm.diffusion.schedules import make_schedule
from ngldm.diffusion.schedules.interpolants import rectified_flow, scale_preserving, variance_exploding
from ngldm.io.errors import InputError
from ngldm.noise import make_noise

NEW = ["rectified_flow", "edm_ve", "stable"]


def test_rectified_flow_has_the_levels_of_diffusers() -> None:
    theirs = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000).sigmas.double().flip(0)
    schedule = make_schedule("rectified_flow", 1000)
    torch.testing.assert_close(schedule.noise[1:], theirs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(schedule.signal + schedule.noise, torch.ones(1001, dtype=torch.float64))


@pytest.mark.parametrize("total", [2, 18, 1000])
def test_edm_ve_has_the_levels_of_diffusers(total: int) -> None:
    scheduler = EDMEulerScheduler()
    scheduler.set_timesteps(total)
    schedule = make_schedule("edm_ve", total)
    torch.testing.assert_close(schedule.noise.flip(0), scheduler.sigmas.double(), rtol=1e-5, atol=0.0)
    assert schedule.signal.unique().tolist() == [1.0]
    assert float(schedule.power[-1]) ** 0.5 == pytest.approx(float(scheduler.init_noise_sigma))


def test_edm_ve_with_other_options() -> None:
    schedule = make_schedule("edm_ve", 5, sigma_min=0.5, sigma_max=8.0, rho=1.0)
    assert schedule.noise.tolist() == pytest.approx([0.0, 0.5, 2.375, 4.25, 6.125, 8.0])
    assert make_schedule("edm_ve", 1, sigma_max=3.0).noise.tolist() == pytest.approx([0.0, 3.0])


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.8, 2.0])
def test_stable_preserves_the_scale(alpha: float) -> None:
    """a^alpha + b^alpha = 1, with the cosine's abar = a^alpha: alpha = 2 is the cosine schedule."""
    schedule, cosine = make_schedule("stable", 200, alpha=alpha), make_schedule("cosine", 200)
    torch.testing.assert_close(schedule.signal**alpha + schedule.noise**alpha, torch.ones(201, dtype=torch.float64))
    torch.testing.assert_close(schedule.signal**alpha, cosine.alphas_cumprod, rtol=1e-12, atol=0.0)
    if alpha == 2.0:
        torch.testing.assert_close(schedule.noise, cosine.noise, rtol=1e-12, atol=0.0)
        torch.testing.assert_close(schedule.signal_rate[1:], cosine.signal_rate[1:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("alpha", [1.3, 1.7])
def test_the_sum_of_two_stable_variables_keeps_its_scale(alpha: float) -> None:
    """What the name means: the scale of a x_0 + b n, for stable x_0 and n, is (a^alpha + b^alpha)^(1/alpha)."""
    schedule, generator = make_schedule("stable", 100, alpha=alpha), torch.Generator().manual_seed(0)
    u = (torch.rand(2, 200_000, generator=generator, dtype=torch.float64) - 0.5) * math.pi
    w = -torch.rand(2, 200_000, generator=generator, dtype=torch.float64).log()
    draws = torch.sin(alpha * u) / u.cos() ** (1 / alpha) * (torch.cos((1 - alpha) * u) / w) ** (1 / alpha - 1)
    for t in (20, 50, 90):
        x = schedule.signal[t] * draws[0] + schedule.noise[t] * draws[1]
        for frequency in (0.5, 1.0):  # E cos(f x) = exp(-|f|^alpha)
            assert float(torch.cos(frequency * x).mean()) == pytest.approx(math.exp(-(frequency**alpha)), abs=0.008)


@pytest.mark.parametrize("name", NEW)
def test_rates_are_the_derivatives(name: str) -> None:
    """Against central differences, which are near enough except beside the steep ends."""
    total = 4000
    schedule = make_schedule(name, total, alpha=1.5)
    inner = slice(total // 20, -total // 20)
    for values, rates in ((schedule.signal, schedule.signal_rate), (schedule.noise, schedule.noise_rate)):
        expected = np.gradient(values.numpy(), 1.0 / total)
        np.testing.assert_allclose(rates.numpy()[inner], expected[inner], rtol=1e-4, atol=1e-8)


def test_rates_of_the_cosine_in_closed_form() -> None:
    """a = cos phi / cos phi_0 with phi = (u + s) / (1 + s) pi / 2: its own normalisation, Nichol and Dhariwal 2021."""
    schedule = make_schedule("cosine", 1000)
    phi = (torch.arange(1001, dtype=torch.float64) / 1000 + 0.008) / 1.008 * math.pi / 2
    rate = -phi.sin() / phi[0].cos() / 1.008 * math.pi / 2
    torch.testing.assert_close(schedule.signal_rate[50:950], rate[50:950], rtol=1e-4, atol=0.0)
    noise_rate = -schedule.signal * rate / schedule.noise  # b^2 = 1 - a^2
    torch.testing.assert_close(schedule.noise_rate[50:950], noise_rate[50:950], rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("total", [1, 2, 50])
@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_replaces_the_image_at_every_t(name: str, total: int) -> None:
    """a b' - a' b > 0: lambda falls, and no conversion divides by 0."""
    schedule = make_schedule(name, total)
    assert bool((schedule.wronskian[1:] > 0.0).all())
    assert bool((schedule.lambdas.diff() < 0.0).all())
    assert (float(schedule.signal[0]), float(schedule.noise[0])) == (1.0, 0.0)
    assert schedule.num_train_timesteps == total


@pytest.mark.parametrize("name", SCHEDULES)
def test_nearest_inverts_lambda(name: str) -> None:
    schedule = make_schedule(name, 40)
    assert [schedule.nearest(float(lam)) for lam in schedule.lambdas[1:]] == list(range(1, 41))
    assert schedule.nearest(math.inf) == 1
    assert schedule.nearest(-math.inf) == 40
    between = 0.4 * float(schedule.lambdas[7]) + 0.6 * float(schedule.lambdas[8])
    assert schedule.nearest(between) == 8
    assert make_schedule(name, 1).nearest(0.3) == 1


@pytest.mark.parametrize("name", NEW)
def test_what_needs_betas_says_which_schedules_have_them(name: str) -> None:
    schedule = make_schedule(name, 10)
    for attribute in ("betas", "alphas", "alphas_cumprod"):
        with pytest.raises(InputError, match=f"^{attribute}: needs a variance-preserving schedule; .*cosine.*edm$"):
            getattr(schedule, attribute)
    with pytest.raises(InputError, match=r"diffusion\.forward: 'markov': needs a variance-preserving schedule"):
        make_forward("markov", make_noise("laplace"), schedule)
    with pytest.raises(InputError, match=r"schedule\.zero_terminal_snr: needs a variance-preserving"):
        schedule.with_zero_terminal_snr()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 1.0}, "schedule.alpha: 1.0 must be above 1 and at most 2"),
        ({"alpha": 2.5}, "schedule.alpha: 2.5 must be above 1 and at most 2"),
        ({"sigma_max": 1e300}, "schedule.sigma_max: 1e+300 must lie between 1e-15 and 1e15"),
        ({"sigma_min": 10**400}, "schedule.sigma_min: a number of 401 digits is too large"),
        ({"zero_terminal_snr": "no"}, "schedule.zero_terminal_snr: 'no' must be true or false"),
        ({"alpha": math.nan}, "schedule.alpha: nan must be above 0 and finite"),
        ({"sigma_min": 0.0}, "schedule.sigma_min: 0.0 must be above 0"),
        ({"sigma_max": math.inf}, "schedule.sigma_max: inf must be above 0 and finite"),
        ({"sigma_min": 90.0}, "schedule.sigma_min: 90.0 must be below sigma_max = 80.0"),
        ({"rho": "7"}, "schedule.rho: '7' is not a number"),
        ({"beta": 2.0}, "schedule.beta: unknown option; known: sigma_min, sigma_max, rho, alpha"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, float], words: str) -> None:
    with pytest.raises(InputError) as caught:
        make_schedule("stable", 10, **options)  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "rho"), [({"rho": 1e-3}, "0.001"), ({"sigma_min": 1.0, "sigma_max": 1.0 + 1e-15}, "7.0")]
)
def test_levels_of_edm_ve_that_float64_cannot_tell_apart_are_refused(options: dict[str, float], rho: str) -> None:
    with pytest.raises(InputError, match=rf"schedule\.rho: {rho}: float64 is not precise enough for 10 different"):
        make_schedule("edm_ve", 10, **options)  # type: ignore[arg-type]


def test_edm_ve_has_no_zero_terminal_snr() -> None:
    with pytest.raises(InputError, match=r"schedule\.zero_terminal_snr: not with 'edm_ve'"):
        make_schedule("edm_ve", 10, zero_terminal_snr=True)
    assert float(make_schedule("stable", 10, zero_terminal_snr=True).signal[-1]) == 0.0


def test_the_functions_alone() -> None:
    assert rectified_flow(2).noise.tolist() == [0.0, 0.5, 1.0]
    assert variance_exploding(2, 1.0, 4.0, 2.0).noise.tolist() == pytest.approx([0.0, 1.0, 4.0])
    abar = torch.tensor([1.0, 0.25], dtype=torch.float64)
    assert scale_preserving(abar, torch.zeros(2, dtype=torch.float64), 2.0).signal.tolist() == [1.0, 0.5]
    assert set(SHAPE) == {"sigma_min", "sigma_max", "rho", "alpha"}
