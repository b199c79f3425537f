"""Guidance: against the score of a mixture, an ODE of scipy and diffusers' rescaling; where it applies."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.guiders.guider_utils import rescale_noise_cfg
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from ngldm.diffusion.objective import objective_target
from ngldm.diffusion.schedules import make_schedule
from ngldm.diffusion.stein_head import SteinHead
from ngldm.noise import make_noise
from ngldm.sampling.classes.guidance import Guidance, sigma
from ngldm.sampling.denoiser import X0Handling, make_denoiser
from ngldm.sampling.samplers import heun

SCHEDULE = make_schedule("cosine", num_train_timesteps=400)
MEANS, SPREAD, WEIGHTS = (-1.2, 0.9), 0.4, (0.3, 0.7)  # two classes, each normal


def marginal(t: int) -> MixtureSameFamily:
    """p(x_t) of both classes and Gaussian noise."""
    a, b = float(SCHEDULE.signal[t]), float(SCHEDULE.noise[t])
    parts = Normal(a * torch.tensor(MEANS, dtype=torch.float64), math.hypot(a * SPREAD, b))
    return MixtureSameFamily(Categorical(torch.tensor(WEIGHTS, dtype=torch.float64)), parts)


def score(log_prob: Any, x: Tensor) -> Tensor:
    """The gradient of a log density, by torch."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        return torch.autograd.grad(log_prob(x).sum(), x)[0]


def guided_score(x: Tensor, t: int, kind: int, scale: float) -> Tensor:
    """That of p(x_t | class)^scale p(x_t)^(1 - scale)."""
    both = marginal(t)
    of_class = both.component_distribution
    one = Normal(of_class.loc[kind], of_class.scale[kind])
    return scale * score(one.log_prob, x) + (1.0 - scale) * score(both.log_prob, x)


def exact(objective: str, kind: int | None) -> Any:
    """The network that predicts the conditional mean of its target: by Tweedie's formula, E[eps | x_t] = -b score."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        step = int(t[0])
        a, b = float(SCHEDULE.signal[step]), float(SCHEDULE.noise[step])
        own = guided_score(x, step, kind or 0, 0.0 if kind is None else 1.0)
        eps = -b * own
        return objective_target(SCHEDULE, (x - b * eps) / a, eps, t, objective)

    return network


@pytest.mark.parametrize("objective", ["eps", "x0", "v", "u"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_the_guided_noise_is_the_score_of_the_sharpened_law(objective, scale):
    guidance = Guidance(exact(objective, None), scale)
    denoise = make_denoiser(exact(objective, 1), SCHEDULE, objective, guidance=guidance)
    x = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None]
    for t in (20, 200, 390):
        wanted = -float(SCHEDULE.noise[t]) * guided_score(x, t, 1, scale)
        torch.testing.assert_close(denoise(x, t).eps, wanted, rtol=1e-6, atol=1e-8)


def test_a_guided_sampler_follows_the_ode_of_the_guided_score():
    """Heun at every timestep, against scipy on d/dt (a x_0 + b eps) with the guided x_0 and eps."""
    signal, noise = (np.asarray(values, dtype=np.float64) for values in (SCHEDULE.signal, SCHEDULE.noise))
    grid = np.arange(401.0)
    scale, first, last = 2.0, 380, 4

    def velocity(time: float, x: np.ndarray) -> np.ndarray:
        """d/dt of a x_0 + b eps at the guided x_0 and eps, with a and b linear between the timesteps."""
        t = min(int(time), 399)
        a, b = (np.interp(time, grid, values) for values in (signal, noise))
        means, spread = a * np.array(MEANS), math.hypot(a * SPREAD, b)
        densities = np.array(WEIGHTS) * np.exp(-0.5 * ((x[:, None] - means) / spread) ** 2)
        shares = densities / densities.sum(1, keepdims=True)
        scores = -(x[:, None] - means) / spread**2
        guided = scale * scores[:, 1] + (1.0 - scale) * (shares * scores).sum(1)
        eps = -b * guided
        return (signal[t + 1] - signal[t]) * (x - b * eps) / a + (noise[t + 1] - noise[t]) * eps

    start = np.array([-1.5, -0.3, 0.4, 1.7])
    wanted = solve_ivp(velocity, (first, last), start, rtol=1e-8, atol=1e-10, max_step=1.0).y[:, -1]
    denoise = make_denoiser(exact("x0", 1), SCHEDULE, "x0", guidance=Guidance(exact("x0", None), scale))
    seen: list[Tensor] = []
    steps = list(range(first, last - 1, -1))
    heun(
        denoise, SCHEDULE, torch.tensor(start)[:, None], lambda: None, steps, callback=lambda step: seen.append(step.x)
    )
    np.testing.assert_allclose(seen[-1][:, 0].numpy(), wanted, atol=5e-4)


@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_rescaling_is_that_of_diffusers(rescale):
    """Lin et al. 2024, equations 15 and 16, on the prediction of x_0."""
    generator = torch.Generator().manual_seed(0)
    conditional, unconditional = (torch.randn(3, 2, 5, 4, generator=generator) for _ in range(2))
    plain = Guidance(None, 4.0)(conditional, unconditional)
    found = Guidance(None, 4.0, rescale)(conditional, unconditional)
    torch.testing.assert_close(found, rescale_noise_cfg(plain, conditional, guidance_rescale=rescale))


def test_guidance_applies_where_the_noise_level_lies_in_the_interval():
    low, high = sigma(SCHEDULE, 100), sigma(SCHEDULE, 300)
    guidance = Guidance(exact("x0", None), 3.0, sigma_min=low, sigma_max=high)
    assert [t for t in range(1, 401) if guidance.applies(SCHEDULE, t)] == list(range(101, 301))
    conditional = make_denoiser(exact("x0", 0), SCHEDULE, "x0")
    guided = make_denoiser(exact("x0", 0), SCHEDULE, "x0", guidance=guidance)
    x = torch.linspace(-2.0, 2.0, 5, dtype=torch.float64)[:, None]
    same = [torch.equal(conditional(x, t).x0, guided(x, t).x0) for t in (100, 101, 300, 301)]
    assert same == [True, False, False, True]


def test_pure_noise_has_an_infinite_level():
    """a_T = 0; without an upper end the interval holds it."""
    schedule = make_schedule("cosine", num_train_timesteps=10, zero_terminal_snr=True)
    assert sigma(schedule, 10) == math.inf
    assert Guidance(None, 2.0).applies(schedule, 10)
    assert not Guidance(None, 2.0, sigma_max=1e6).applies(schedule, 10)


def test_the_change_of_x0_comes_after_the_guidance():
    """Else a guided x_0 could leave the range that `x0_handling` sets."""
    denoise = make_denoiser(
        exact("x0", 1), SCHEDULE, "x0", X0Handling("clip", 0.5), guidance=Guidance(exact("x0", None), 5.0)
    )
    x = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None]
    found = denoise(x, 200)
    assert found.x0.abs().max() == 0.5
    a, b = float(SCHEDULE.signal[200]), float(SCHEDULE.noise[200])
    torch.testing.assert_close(a * found.x0 + b * found.eps, x)


def test_k_bar_stays_that_of_the_conditional_prediction():
    """For exponential noise it depends on the predicted noise, which guidance changes."""
    head = SteinHead.choose(make_noise("exponential"), "none", fixed=True)
    x = torch.linspace(-2.0, 2.0, 9)[:, None]

    def network(value: float) -> Any:
        return lambda x, t: torch.full_like(x, value)

    plain = make_denoiser(network(0.5), SCHEDULE, "x0", stein_head=head)(x, 200)
    guided = make_denoiser(network(0.5), SCHEDULE, "x0", stein_head=head, guidance=Guidance(network(-0.5), 3.0))(x, 200)
    assert not torch.equal(plain.eps, guided.eps)
    assert plain.k_bar is not None
    assert torch.equal(plain.k_bar, guided.k_bar)
