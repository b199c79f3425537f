"""The sampler `stein`: DDPM for Gaussian noise, the steps of its formula, and which models it refuses."""

import math
from collections.abc import Callable

import diffusers.schedulers.scheduling_ddpm as diffusers_ddpm
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.diffusion.stein_head import SteinHead
from ngldm.io.errors import InputError
from ngldm.noise import make_noise
from ngldm.sampling.denoiser import Prediction, make_denoiser
from ngldm.sampling.stein import stein
from ngldm.sampling.timesteps import Step, inference_timesteps

SHAPE = (4, 2, 3, 3)


def fake_model(x: Tensor, t: Tensor) -> Tensor:
    """Smooth, nonlinear in x, different for every t."""
    return torch.sin(0.7 * x + 0.05 * t[:, None, None, None]) + 0.3 * torch.tanh(x)


def normals(count: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(count)]


def feed(tensors: list[Tensor]) -> Callable[[], Tensor]:
    iterator = iter(tensors)
    return lambda: next(iterator)


def in_float64(scheduler: DDPMScheduler | DDIMScheduler, total: int, count: int) -> DDPMScheduler | DDIMScheduler:
    """diffusers' update rules with coefficients in float64."""
    config = scheduler.config
    betas = torch.linspace(config.beta_start, config.beta_end, total, dtype=torch.float64)
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
    scheduler.set_timesteps(count)
    return scheduler


@pytest.mark.parametrize(("total", "count"), [(60, 60), (60, 20), (1000, 50), (1000, 1)])
def test_with_gaussian_noise_it_is_ddpm(total: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every x_t is that of diffusers' DDPM with the posterior variance ("fixed_small"), from the same numbers."""
    scheduler = DDPMScheduler(total, variance_type="fixed_small", clip_sample=False, timestep_spacing="trailing")
    scheduler = in_float64(scheduler, total, count)
    noises = normals(count)
    draw = feed([*noises[1:], torch.zeros(SHAPE, dtype=torch.float64)])
    monkeypatch.setattr(diffusers_ddpm, "randn_tensor", lambda *_, **__: draw())
    x, theirs = noises[0], [noises[0]]
    for t in scheduler.timesteps:
        x = scheduler.step(fake_model(x, (t + 1).expand(len(x))), t, x).prev_sample
        theirs.append(x)
    ours = run(total, count, 1.0)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_with_gaussian_noise_it_is_ddim_with_eta(eta: float) -> None:
    scheduler = DDIMScheduler(60, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    scheduler = in_float64(scheduler, 60, 20)
    noises = normals(20)
    draw = feed([*noises[1:], torch.zeros(SHAPE, dtype=torch.float64)])
    x, theirs = noises[0], [noises[0]]
    for t in scheduler.timesteps:
        output = fake_model(x, (t + 1).expand(len(x)))
        x = scheduler.step(output, int(t), x, eta=eta, variance_noise=draw()).prev_sample
        theirs.append(x)
    for one, other in zip(run(60, 20, eta), theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def run(total: int, count: int, eta: float) -> list[Tensor]:
    """x_t at the start of every step, then the result; Gaussian noise, eps predicted."""
    schedule, steps = make_schedule("linear", total), list[Step]()
    denoise = make_denoiser(fake_model, schedule, stein_head=SteinHead(make_noise("gaussian")))
    draw = feed(normals(count))
    timesteps = inference_timesteps(schedule, count)
    last = stein(denoise, schedule, draw(), draw, timesteps, eta=eta, callback=steps.append)
    return [*(step.x for step in steps), last]


def test_the_new_noise_has_the_variance_of_the_kernel() -> None:
    """From t to s, with x_0 = 0, eps = e and K_bar = k given: mean b_s rho e and variance b_s^2 (1 - rho^2) k."""
    schedule, count = make_schedule("linear", 100), 200_000
    e, k = 0.8, 2.5
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(count, dtype=torch.float64)
    seen: list[Tensor] = []
    stein(
        lambda x, t: Prediction(0.0 * x, 0.0 * x + e, 0.0 * x + k),
        schedule,
        x,
        lambda: torch.randn(count, generator=generator, dtype=torch.float64),
        [80, 50],
        eta=0.7,
        callback=lambda step: seen.append(step.x),
    )
    (a_t, b_t), (a_s, b_s) = (
        (float(schedule.alphas_cumprod[t]) ** 0.5, (1 - float(schedule.alphas_cumprod[t])) ** 0.5) for t in (80, 50)
    )
    rho2 = 1 - 0.7**2 * (1 - (b_s * a_t / (b_t * a_s)) ** 2)
    wanted = b_s**2 * (1 - rho2) * k
    assert float(seen[1].mean()) == pytest.approx(b_s * rho2**0.5 * e, abs=5 * (wanted / count) ** 0.5)
    assert float(seen[1].var()) == pytest.approx(wanted, rel=5 * (2 / count) ** 0.5)


def test_from_pure_noise_all_noise_is_new() -> None:
    """a_T = 0 gives r = 0: x_s = a_s x0_hat + b_s K_bar^(1/2) z."""
    schedule = make_schedule("linear", 40, 1e-3, 0.2, zero_terminal_snr=True)
    z, seen = normals(2)[1], list[Tensor]()
    stein(
        lambda x, t: Prediction(0.0 * x + 0.3, 0.0 * x + 9.0, 0.0 * x + 4.0),
        schedule,
        normals(1)[0],
        lambda: z,
        [40, 20],
        callback=lambda step: seen.append(step.x),
    )
    abar = float(schedule.alphas_cumprod[20])
    torch.testing.assert_close(seen[1], math.sqrt(abar) * 0.3 + math.sqrt(1 - abar) * 2.0 * z)


@pytest.mark.parametrize(
    ("name", "params", "factor"), [("exponential", {}, 1.0), ("gamma", {"concentration": 4.0}, 0.5)]
)
def test_k_bar_of_gamma_noise_follows_from_eps(name: str, params: dict, factor: float) -> None:
    """1 + eps / sqrt(concentration), not below 0; nothing to learn."""
    schedule = make_schedule("linear", 10)
    head = SteinHead(make_noise(name, params))
    x = torch.linspace(-6.0, 6.0, 12, dtype=torch.float64).reshape(2, 6)
    found = make_denoiser(lambda x, t: x, schedule, stein_head=head)(x, 7)
    torch.testing.assert_close(found.k_bar, (1.0 + factor * x).clamp(min=0.0))


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan])
def test_eta_out_of_range(value: float) -> None:
    schedule = make_schedule("linear", 10)
    with pytest.raises(InputError, match=r"eta: .* must be in \[0, 1\]"):
        stein(lambda x, t: Prediction(x, x, x), schedule, normals(1)[0], lambda: normals(1)[0], [10], eta=value)


def test_a_denoiser_without_k_bar_is_refused() -> None:
    schedule = make_schedule("linear", 10)
    with pytest.raises(InputError, match="K_bar"):
        stein(make_denoiser(fake_model, schedule), schedule, normals(1)[0], lambda: normals(1)[0], [10])


SCHEDULE = make_schedule("linear", 10)


@pytest.mark.parametrize(
    ("noise", "settings"),
    [
        ("gaussian", {}),
        ("gaussian", {"forward": "markov"}),
        ("exponential", {}),
        ("gamma", {}),
        ("laplace", {"stein_head": "element"}),
        ("student_t", {"stein_head": "element"}),
    ],
)
def test_models_with_k_bar_are_taken(noise: str, settings: dict[str, str]) -> None:
    Diffusion.make(make_noise(noise), SCHEDULE, **settings).stein_head.require_k_bar()


@pytest.mark.parametrize(
    ("noise", "settings", "words"),
    [
        ("laplace", {}, "train with element, or use ddim with eta 0, dpmpp_2m, heun"),
        ("bernoulli", {}, "no Stein kernel is known for the noise 'bernoulli'; use ddim"),
        ("exponential_uncentred", {}, "no Stein kernel is known"),
        ("exponential", {"forward": "markov"}, "markov"),
        ("laplace", {"forward": "markov"}, "markov"),
        ("exponential", {"coupling": "minibatch_ot"}, r"diffusion\.coupling"),
    ],
)
def test_models_without_k_bar_are_refused(noise: str, settings: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Diffusion.make(make_noise(noise), SCHEDULE, **settings).stein_head.require_k_bar()
