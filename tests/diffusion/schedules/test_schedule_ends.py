"""Schedules and weights where they end: the image at t = 0, and pure noise at T."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler
from scipy import stats
from scipy.integrate import quad

from ngldm.diffusion.names import SCHEDULES, VARIANCE_PRESERVING
from ngldm.diffusion.objective import Objective
from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.sampling.samplers import ddim, heun
from ngldm.sampling.timesteps import inference_timesteps
from ngldm.theory.theorem1 import kurtosis_left


def sigmas(schedule: Schedule) -> torch.Tensor:
    abar = schedule.alphas_cumprod[1:]
    return ((1.0 - abar) / abar).sqrt()


@pytest.mark.parametrize("total", [10, 100, 1000, 4000])
def test_edm_is_equation_5(total: int) -> None:
    """sigma_t = (0.002^(1/7) + t / T (80^(1/7) - 0.002^(1/7)))^7 for t = 1..T."""
    t = np.arange(1, total + 1) / total
    expected = (0.002 ** (1 / 7) + t * (80.0 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    np.testing.assert_allclose(sigmas(make_schedule("edm", total)).numpy(), expected, rtol=1e-9)


def test_edm_goes_from_just_above_its_least_sigma_to_80() -> None:
    assert float(sigmas(make_schedule("edm"))[0]) == pytest.approx(0.00205, abs=5e-6)
    assert float(sigmas(make_schedule("edm"))[-1]) == pytest.approx(80.0, rel=1e-9)


@pytest.mark.parametrize("total", [20, 500])
def test_edm_is_diffusers(total: int) -> None:
    """T + 1 of diffusers' levels, in float32, without the last, 0.002, in whose place is the image."""
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    scheduler.set_timesteps(total + 1)
    theirs = scheduler.sigmas[:total].flip(0).double()
    torch.testing.assert_close(sigmas(make_schedule("edm", total)), theirs, rtol=1e-5, atol=0.0)


def test_laplace_is_the_laplace_law_but_for_a_uniform_share() -> None:
    """Levels up to t, as a share of T, against quadrature of the density: 95 % Laplace, 5 % uniform on [-10, 10]."""
    abar = make_schedule("laplace", 1000).alphas_cumprod[1:].numpy()
    log_snr = np.log(abar / (1.0 - abar))
    law = stats.laplace(scale=0.5)
    for t in (1, 20, 100, 400, 500, 750, 970, 999):
        above = quad(lambda y: 0.95 * law.pdf(y) + 0.05 / 20.0, log_snr[t - 1], 10.0, points=[0.0])[0]
        assert above == pytest.approx(t / 1000, abs=1e-6)


def deviation(schedule: Schedule, s: float, timesteps: list[int], sampler: Callable[..., torch.Tensor] = heun) -> float:
    """Of the sampled N(0, s^2), relative to s, with the exact conditional mean; the flow is linear."""

    def denoise(x: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = float(schedule.signal[t]), float(schedule.noise[t])
        x0 = a * s**2 / (a**2 * s**2 + b**2) * x
        return x0, (x - a * x0) / b

    a, b = float(schedule.signal[-1]), float(schedule.noise[-1])
    start = torch.tensor([math.hypot(a * s, b)], dtype=torch.float64)
    return float(sampler(denoise, schedule, start, lambda: start, timesteps)) / s


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "constant"])
def test_every_schedule_ends_near_enough_to_the_image_for_its_detail(name: str) -> None:
    """Data of deviation 0.1 keeps it within 3 %: little is left to the leap from t = 1, where the law of Laplace alone,
    whose noise is 0.2 there, loses 57 %. Not "constant", whose first step is as large as its last."""
    schedule = make_schedule(name, 1000)
    assert deviation(schedule, 0.1, inference_timesteps(schedule, 1000)) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    ("name", "errors"), [("laplace", [0.096, 0.062, 0.032, 0.017]), ("cosine", [0.024, 0.012, 0.006, 0.003])]
)
def test_what_few_steps_of_ddim_lose_is_the_length_of_the_steps_in_the_angle(name: str, errors: list[float]) -> None:
    """Data N(0, 1): E[x_0 | x_t] = a x and E[eps | x_t] = b x, so a step by the angle d, with tan(angle) = b / a,
    multiplies by cos(d). The loss 1 - prod cos(d) falls as 1 / steps. With `laplace` it is 4 times that of `cosine`.
    """
    schedule = make_schedule(name, 1000)
    angles = torch.atan2(schedule.noise, schedule.signal)
    for count, error in zip((50, 100, 200, 400), errors, strict=True):
        timesteps = inference_timesteps(schedule, count)
        expected = float((-angles[[*timesteps, 0]].diff()).cos().prod())
        assert deviation(schedule, 1.0, timesteps, ddim) == pytest.approx(expected, rel=1e-9)
        assert 1.0 - expected == pytest.approx(error, abs=6e-4)


@pytest.mark.parametrize("total", [1, 2, 10, 1000])
def test_laplace_betas_lie_below_1_and_its_first_step_is_small(total: int) -> None:
    schedule = make_schedule("laplace", total)
    assert float(schedule.betas.max()) <= 0.999
    if total == 1000:
        assert float(schedule.noise[1]) < 0.01


@pytest.mark.parametrize(("weighting", "gamma"), [("min_snr", None), ("min_snr", 1.0), ("p2", None), ("p2", 2.0)])
@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_the_step_that_sampling_starts_from_is_trained(name: str, weighting: str, gamma: float | None) -> None:
    """SNR_T = 0: v = -x_0 there, so that both targets have the same error; it counts 1, as Lin et al. train v."""
    schedule = make_schedule(name, 1000, zero_terminal_snr=True)
    v, x0 = (Objective(target, weighting, gamma).weights(schedule) for target in ("v", "x0"))
    assert float(v[-1]) == float(x0[-1]) == 1.0
    assert bool((v[1:] > 0.0).all())
    assert bool(v.isfinite().all())


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_min_snr_elsewhere_is_the_authors_for_v(name: str) -> None:
    """min(SNR, 5) / (SNR + 1) for v (Hang et al. 2023, section 3.4)."""
    schedule = make_schedule(name, 100, zero_terminal_snr=True)
    snr = (schedule.alphas_cumprod / (1.0 - schedule.alphas_cumprod))[1:-1]
    torch.testing.assert_close(Objective("v", "min_snr").weights(schedule)[1:-1], snr.clamp(max=5.0) / (snr + 1.0))


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_all_of_the_kurtosis_is_left_where_the_last_step_replaces_all(name: str) -> None:
    assert kurtosis_left(make_schedule(name, 50, zero_terminal_snr=True)) == pytest.approx(1.0, rel=1e-12)


def test_kurtosis_left_in_closed_form() -> None:
    """Constant beta: shares beta (1 - beta)^j / (1 - (1 - beta)^T)."""
    share = 0.1 * 0.9 ** np.arange(30) / (1.0 - 0.9**30)
    assert kurtosis_left(make_schedule("constant", 30, beta_end=0.1)) == pytest.approx((share**2).sum(), rel=1e-12)
