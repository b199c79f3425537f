"""DPM-Solver++(2M), Heun and posterior sampling: against diffusers, and against problems whose answer is known."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.diffusion.stein_head import SteinHead
from ngldm.io.errors import InputError
from ngldm.noise import Noise, make_noise, noise_names
from ngldm.sampling.denoiser import Prediction, make_denoiser
from ngldm.sampling.samplers import SAMPLERS, ancestral, ddim, dpmpp_2m, heun, network_calls, posterior
from ngldm.sampling.timesteps import Step, inference_timesteps

SHAPE = (4, 2, 3, 3)
GAUSSIAN = SteinHead(make_noise("gaussian"))  # whose K_bar is 1
IID = [name for name in noise_names() if isinstance(make_noise(name), Noise)]
CENTRED = [name for name in IID if name != "exponential_uncentred"]


def fake_model(x: Tensor, t: Tensor) -> Tensor:
    """Smooth, nonlinear in x, different for every t."""
    return torch.sin(0.7 * x + 0.005 * t[:, None, None, None]) + 0.3 * torch.tanh(x)


def start(seed: int = 0) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def never() -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def run(sampler: Callable, model: Callable, schedule: Schedule, x: Tensor, count: int, **options: Any) -> Tensor:
    return sampler(make_denoiser(model, schedule), schedule, x, never, inference_timesteps(schedule, count), **options)


@pytest.mark.parametrize(("total", "count"), [(60, 60), (60, 12), (1000, 20), (1000, 5), (1000, 1)])
def test_dpmpp_2m_is_diffusers(total: int, count: int) -> None:
    """Its sigmas are float32, 6e-8 relative, which the first steps' division by sqrt(abar) >= 0.006 magnifies."""
    scheduler = DPMSolverMultistepScheduler(
        total,
        beta_schedule="linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(count)
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(fake_model(x, (t + 1).expand(len(x))), t, x).prev_sample
    torch.testing.assert_close(
        run(dpmpp_2m, fake_model, make_schedule("linear", total), start(), count), x, rtol=2e-3, atol=2e-3
    )


def two_points(schedule: Schedule, noise: Noise) -> Callable[[Tensor, int], Prediction]:
    """The optimal denoiser of data at -1 and +1, equally likely, for any noise with a density: Bayes' rule."""

    def denoise(x: Tensor, t: int) -> Prediction:
        signal, scale = float(schedule.signal[t]), float(schedule.noise[t])
        plus, minus = (noise.log_prob((x - signal * point) / scale) for point in (1.0, -1.0))
        x0 = torch.tanh(((plus - minus) / 2.0).nan_to_num(0.0, 30.0, -30.0))
        return Prediction(x0, (x - signal * x0) / scale)

    return denoise


# Bounded and one-sided noises too, where Bayes' rule is certain if only one of the points is possible. Not atoms, which
# a finite step leaves, and off which the denoiser is undefined; nor arcsine, whose density is infinite at its ends.
SHAPES = ["exponential", "gamma", "weibull", "lognormal", "uniform", "triangular", "beta"]


@pytest.mark.parametrize("name", ["gaussian", "laplace", "logistic", "gumbel", "student_t", "skew_normal", *SHAPES])
@pytest.mark.parametrize("sampler", [ddim, heun, dpmpp_2m])
def test_deterministic_samplers_carry_any_noise_to_discrete_data(sampler: Callable, name: str) -> None:
    """The flow of conditional means keeps the marginals of any noise: each point gets half, and nothing lies between.

    5 standard errors of the share, and 2 % for 250 steps' discretisation.
    """
    n, schedule, noise = 4096, make_schedule("linear", 1000), make_noise(name)
    x = noise.sample((n,), torch.Generator().manual_seed(1), dtype=torch.float64)
    result = sampler(two_points(schedule, noise), schedule, x, never, inference_timesteps(schedule, 250))
    assert float((result.abs() - 1.0).abs().median()) < 0.05
    assert float(((result.abs() - 1.0).abs() < 0.3).double().mean()) > 0.95
    assert float((result > 0).double().mean()) == pytest.approx(0.5, abs=2.5 / math.sqrt(n) + 0.02)


@pytest.mark.parametrize("options", [{"variance": "beta"}, {"variance": "posterior"}, {"eta": 1.0}])
def test_samplers_that_add_noise_carry_gaussian_noise_to_discrete_data(options: dict[str, Any]) -> None:
    """As above; for the Gaussian their steps are the exact posterior as the steps become small."""
    n, schedule, noise = 4096, make_schedule("linear", 1000), make_noise("gaussian")
    generator = torch.Generator().manual_seed(1)

    def draw() -> Tensor:
        return noise.sample((n,), generator, dtype=torch.float64)

    sampler = ddim if "eta" in options else ancestral
    timesteps = inference_timesteps(schedule, 250)
    result = sampler(two_points(schedule, noise), schedule, draw(), draw, timesteps, **options)
    assert float(((result.abs() - 1.0).abs() < 0.3).double().mean()) > 0.95
    assert float((result > 0).double().mean()) == pytest.approx(0.5, abs=2.5 / math.sqrt(n) + 0.02)


@pytest.mark.parametrize("name", CENTRED)
@pytest.mark.parametrize("sampler", [ddim, heun, dpmpp_2m, posterior])
def test_every_noise_ends_at_the_only_data_point(sampler: Callable, name: str) -> None:
    schedule, noise, generator = (
        make_schedule("linear", 50, 1e-3, 0.2),
        make_noise(name),
        torch.Generator().manual_seed(2),
    )

    def model(x: Tensor, t: Tensor) -> Tensor:
        abar = float(schedule.alphas_cumprod[t[0]])
        return (x - abar**0.5 * 0.7) / (1 - abar) ** 0.5

    def draw() -> Tensor:
        return noise.sample(SHAPE, generator, dtype=torch.float64)

    x = sampler(make_denoiser(model, schedule), schedule, draw(), draw, inference_timesteps(schedule, 10))
    torch.testing.assert_close(x, torch.full_like(x, 0.7), rtol=0, atol=1e-6)


@pytest.mark.parametrize("refresh", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("name", ["gaussian", "exponential", "uniform"])
def test_posterior_keeps_the_variance_of_the_noise(name: str, refresh: float) -> None:
    """With the data at 0 and known, x_t / sqrt(1 - abar_t) has variance 1 throughout: 6 standard errors."""
    n, schedule, noise = 2**15, make_schedule("linear", 100, 1e-3, 0.2), make_noise(name)
    generator, steps = torch.Generator().manual_seed(3), []

    def draw() -> Tensor:
        return noise.sample((n,), generator, dtype=torch.float64)

    def denoise(x: Tensor, t: int) -> Prediction:
        return Prediction(torch.zeros_like(x), x / float(schedule.noise[t]))

    timesteps = inference_timesteps(schedule, 20)
    posterior(denoise, schedule, draw(), draw, timesteps, refresh=refresh, callback=steps.append)
    bound = 6 * math.sqrt((max(noise.excess_kurtosis, 0.0) + 2) / n)
    for step in steps:
        variance = float((step.x / schedule.noise[step.t]).var())
        assert variance == pytest.approx(1.0, abs=bound)


def test_posterior_without_refreshing_is_ddim() -> None:
    schedule = make_schedule("linear", 60)
    one, other = (
        run(sampler, fake_model, schedule, start(), 12, **options)
        for sampler, options in ((posterior, {"refresh": 0.0}), (ddim, {}))
    )
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", sorted(SAMPLERS))
def test_network_calls_are_those_that_are_made(method: str) -> None:
    calls, schedule, steps = [], make_schedule("linear", 30), list[Step]()

    def model(x: Tensor, t: Tensor) -> Tensor:
        calls.append(int(t[0]))
        return torch.zeros_like(x)

    timesteps = inference_timesteps(schedule, 7)
    denoise = make_denoiser(model, schedule, stein_head=GAUSSIAN)
    SAMPLERS[method](denoise, schedule, start(), start, timesteps, callback=steps.append)
    assert len(calls) == network_calls(method, 7)
    assert [step.t for step in steps] == timesteps
    assert steps[-1].t_next == 0


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan])
def test_refresh_out_of_range(value: float) -> None:
    with pytest.raises(InputError, match=r"refresh: .* must be in \[0, 1\]"):
        run(posterior, fake_model, make_schedule("linear", 10), start(), 2, refresh=value)


@pytest.mark.parametrize("method", sorted(SAMPLERS))
@pytest.mark.parametrize("objective", ["x0", "v"])
def test_samplers_start_from_pure_noise(method: str, objective: str) -> None:
    """abar_T = 0: the only data point is still found."""
    schedule = make_schedule("linear", 40, 1e-3, 0.2, zero_terminal_snr=True)

    def model(x: Tensor, t: Tensor) -> Tensor:
        signal, noise = (float(v[t[0]]) for v in (schedule.signal, schedule.noise))
        x0 = torch.full_like(x, 0.7)
        return x0 if objective == "x0" else (signal * x - x0) / noise

    timesteps = inference_timesteps(schedule, 10, "karras")
    denoise = make_denoiser(model, schedule, objective, stein_head=GAUSSIAN)
    x = SAMPLERS[method](denoise, schedule, start(), start, timesteps)
    torch.testing.assert_close(x, torch.full_like(x, 0.7), rtol=0, atol=1e-6)
