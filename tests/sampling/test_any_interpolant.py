"""Objectives and samplers for any a(t), b(t): beside diffusers, and on data whose flow is known in closed form."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from diffusers import EDMDPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ngldm.data.cache.statistics import LatentExtent
from ngldm.diffusion.forward import Marginal
from ngldm.diffusion.names import OBJECTIVES, SCHEDULES
from ngldm.diffusion.objective import Objective, add_noise, objective_target, predict_eps, predict_x0
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import make_noise
from ngldm.sampling.denoiser import Prediction, make_denoiser
from ngldm.sampling.randomness import start_draw
from ngldm.sampling.samplers import ancestral, ddim, dpmpp_2m, heun, posterior
from ngldm.sampling.timesteps import inference_timesteps

NEW = ["rectified_flow", "edm_ve", "stable"]
MEAN, STD = 0.5, 0.6


def normal_data(schedule: Schedule) -> Callable[[Tensor, int], Prediction]:
    """The exact denoiser of data from N(MEAN, STD^2) and Gaussian noise (regression of normal variables)."""

    def denoise(x: Tensor, t: int) -> Prediction:
        a, b = float(schedule.signal[t]), float(schedule.noise[t])
        gain = 1.0 / (a**2 * STD**2 + b**2)
        return Prediction(MEAN + gain * a * STD**2 * (x - a * MEAN), gain * b * (x - a * MEAN))

    return denoise


def flow_end(schedule: Schedule, x: Tensor) -> Tensor:
    """Where the flow of `normal_data` leads: it keeps the number of standard deviations from the mean."""
    a, b = float(schedule.signal[-1]), float(schedule.noise[-1])
    return MEAN + STD * (x - a * MEAN) / math.hypot(a * STD, b)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_target_gives_x0_and_eps_back(name: str, objective: str) -> None:
    schedule, generator = make_schedule(name, 50), torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)
    t = torch.arange(1, 51)
    if objective == "eps":  # not where a_T = 0
        x0, eps, t = x0[:-1], eps[:-1], t[:-1]
    x = add_noise(schedule, x0, eps, t)
    found = predict_x0(schedule, x, objective_target(schedule, x0, eps, t, objective), t, objective)
    torch.testing.assert_close(found, x0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(predict_eps(schedule, x, found, t), eps, rtol=1e-6, atol=1e-5)


def test_u_of_rectified_flow_is_noise_minus_image() -> None:
    """And u, v and x_0 give x_0 at a_T = 0, exactly."""
    schedule, t = make_schedule("rectified_flow", 10), torch.tensor([3, 10])
    x0, eps = torch.tensor([[0.5], [-0.25]]), torch.tensor([[2.0], [1.5]])
    torch.testing.assert_close(objective_target(schedule, x0, eps, t, "u"), eps - x0)
    for objective in ("u", "v", "x0"):
        target = objective_target(schedule, x0, eps, t, objective)
        torch.testing.assert_close(predict_x0(schedule, add_noise(schedule, x0, eps, t), target, t, objective), x0)
    with pytest.raises(InputError, match=r"diffusion\.objective: 'eps' cannot be used .*rectified_flow.*'u', 'v' or"):
        Diffusion.make(make_noise("gaussian"), schedule)


@pytest.mark.parametrize("weighting", ["min_snr", "p2"])
@pytest.mark.parametrize("name", [*NEW, "linear"])
def test_a_weighting_is_the_same_loss_for_every_target(name: str, weighting: str) -> None:
    """The weight of x_0's squared error that a target's weight means (Kingma and Gao 2023), by a small error of it."""
    schedule = make_schedule(name, 30)
    t = torch.arange(1, 30)
    x = torch.zeros(29, 1, dtype=torch.float64)
    on_x0 = []
    for objective in OBJECTIVES:
        output = torch.ones(29, 1, dtype=torch.float64)
        moved = predict_x0(schedule, x, output, t, objective) - predict_x0(schedule, x, 0.0 * output, t, objective)
        on_x0.append(Objective(objective, weighting).weights(schedule)[1:-1] / moved.flatten().square())
    for other in on_x0[1:]:
        torch.testing.assert_close(other, on_x0[0], rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("spacing", ["trailing", "quadratic", "karras"])
@pytest.mark.parametrize("name", [*NEW, "cosine"])
@pytest.mark.parametrize(("sampler", "steps", "bound"), [(ddim, 500, 0.015), (heun, 50, 0.006), (dpmpp_2m, 50, 0.015)])
def test_normal_data_comes_out_right(sampler, steps: int, bound: float, name: str, spacing: str) -> None:
    schedule = make_schedule(name, 1000, sigma_max=20.0)
    width = float(schedule.power[-1]) ** 0.5
    x = width * torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)
    found = sampler(normal_data(schedule), schedule, x, None, inference_timesteps(schedule, steps, spacing))
    assert float((found - flow_end(schedule, x)).abs().max()) < bound * (4.0 if spacing == "quadratic" else 1.0)


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (heun, 2), (dpmpp_2m, 2)])
@pytest.mark.parametrize("name", NEW)
def test_the_error_falls_with_the_order_of_the_method(sampler, order: int, name: str) -> None:
    """Halving the steps divides it by 2 or 4. x_t is compared at t = 640: it is known in closed form there too."""
    schedule = make_schedule(name, 3200, sigma_min=0.05, sigma_max=20.0)
    x = float(schedule.power[-1]) ** 0.5 * torch.linspace(-2.0, 2.0, 5, dtype=torch.float64)
    errors = []
    for steps in (100, 200, 400):
        timesteps = [t for t in inference_timesteps(schedule, steps) if t >= 640]
        seen: list[Tensor] = []
        sampler(normal_data(schedule), schedule, x, None, timesteps, callback=lambda step, seen=seen: seen.append(step))
        last = seen[-1]
        assert last.t == 640
        a, b = float(schedule.signal[640]), float(schedule.noise[640])
        scale = math.hypot(a * STD, b) / STD
        wanted = a * MEAN + scale * (flow_end(schedule, x) - MEAN)
        errors.append(float((last.x - wanted).abs().max()))
    for coarse, fine in pairwise(errors):  # dpmpp_2m begins with a step of first order, which is a long one in lambda
        assert coarse / fine > (1.9 if order == 1 else 2.8)


def test_heun_in_the_angle_does_not_see_the_scale_of_x() -> None:
    """x / sqrt(a^2 + b^2) of the variance-exploding process is the variance-preserving one with the same sigma."""
    exploding = make_schedule("edm_ve", 300)
    radius = exploding.power.sqrt()
    preserving = Schedule(1.0 / radius, exploding.noise / radius, exploding.signal_rate, exploding.noise_rate)
    y, timesteps = torch.linspace(-2.0, 2.0, 7, dtype=torch.float64), inference_timesteps(exploding, 12)
    theirs = heun(normal_data(preserving), preserving, y, None, timesteps)
    ours = heun(normal_data(exploding), exploding, float(radius[-1]) * y, None, timesteps)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_ddim_on_rectified_flow_is_diffusers_euler() -> None:
    """Both move x by (sigma_s - sigma_t) u."""
    schedule, count = make_schedule("rectified_flow", 1000), 20
    timesteps = inference_timesteps(schedule, count)
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(sigmas=[t / 1000 for t in timesteps])
    x = torch.linspace(-2.0, 2.0, 9)
    ours, theirs, denoise = x.double(), x, normal_data(schedule)
    for t, step in zip(timesteps, scheduler.timesteps, strict=True):
        prediction = denoise(theirs.double(), t)
        theirs = scheduler.step((prediction.eps - prediction.x0).float(), step, theirs).prev_sample
    torch.testing.assert_close(ddim(denoise, schedule, ours, None, timesteps).float(), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [10, 20])
def test_dpmpp_2m_on_edm_ve_is_diffusers(count: int) -> None:
    """EDM's preconditioned network, here the identity of its own x_0-prediction; sigmas of Karras in both."""
    scheduler = EDMDPMSolverMultistepScheduler(sigma_data=0.5, euler_at_final=True, final_sigmas_type="zero")
    scheduler.set_timesteps(count)
    schedule = make_schedule("edm_ve", count)
    denoise, theirs = normal_data(schedule), 80.0 * torch.linspace(-1.0, 1.0, 9)
    ours = dpmpp_2m(denoise, schedule, theirs.double(), None, inference_timesteps(schedule, count))
    for t, step in zip(range(count, 0, -1), scheduler.timesteps, strict=True):
        scaled = scheduler.scale_model_input(theirs, step)
        sigma = float(schedule.noise[t])
        x0 = denoise(theirs.double(), t).x0
        skip, out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / math.sqrt(sigma**2 + 0.25)
        theirs = scheduler.step(((x0 - skip * theirs) / out).float(), step, theirs).prev_sample
        assert scaled.isfinite().all()
    torch.testing.assert_close(ours.float(), theirs, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", NEW)
def test_full_eta_keeps_normal_data(name: str) -> None:
    """ddim with eta = 1 is the reverse of Gaussian noising: 400 steps give N(MEAN, STD^2)."""
    schedule, generator, n = make_schedule(name, 400, sigma_max=20.0), torch.Generator().manual_seed(0), 20_000

    def source() -> Tensor:
        return torch.randn(n, generator=generator, dtype=torch.float64)

    x = float(schedule.signal[-1]) * (MEAN + STD * source()) + float(schedule.noise[-1]) * source()
    found = ddim(normal_data(schedule), schedule, x, source, inference_timesteps(schedule, 400), eta=1.0)
    assert float(found.mean()) == pytest.approx(MEAN, abs=5 * STD / math.sqrt(n))
    assert float(found.std()) == pytest.approx(STD, rel=0.03)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("sampler", [ancestral, posterior])
def test_samplers_of_the_chain_refuse(sampler, name: str) -> None:
    schedule = make_schedule(name, 10)
    with pytest.raises(InputError, match=f"sampler '{sampler.__name__}': needs a variance-preserving schedule"):
        sampler(normal_data(schedule), schedule, torch.zeros(2), lambda: torch.zeros(2), [10, 5])


@pytest.mark.parametrize("choice", ["own", "gaussian", "averaged:2", "x_T"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_start_is_as_wide_as_x_T(name: str, choice: str) -> None:
    """For x_0 of variance 1: sqrt(a^2 + b^2), as diffusers' init_noise_sigma for EDM."""
    schedule = make_schedule(name, 20)
    draw = start_draw(choice, Marginal(make_noise("laplace")), schedule, LatentExtent.standard((40_000,)))
    x = draw((1, 40_000), torch.Generator().manual_seed(0))
    wanted = math.hypot(float(schedule.signal[-1]), float(schedule.noise[-1]))
    assert float(x.std()) == pytest.approx(wanted, rel=0.04)


def test_a_network_of_u_is_a_denoiser() -> None:
    schedule = make_schedule("rectified_flow", 10)
    denoise = make_denoiser(lambda x, t: torch.full_like(x, 0.3), schedule, "u")
    x0, eps, _ = denoise(torch.ones(2, 1), 10)
    torch.testing.assert_close(x0, torch.full((2, 1), 0.7))  # x - t u
    torch.testing.assert_close(eps, torch.ones(2, 1))
