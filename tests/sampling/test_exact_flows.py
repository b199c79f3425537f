"""Samplers with exact conditional means against what they must give: closed forms, quantile maps, quadrature."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler, HeunDiscreteScheduler
from scipy import optimize, stats
from torch import Tensor

from ngldm.data.cache.statistics import LatentExtent
from ngldm.diffusion.forward import Marginal
from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import Noise, make_noise, noise_names
from ngldm.sampling.best import best_sampler
from ngldm.sampling.denoiser import Prediction
from ngldm.sampling.names import check_settings
from ngldm.sampling.randomness import start_draw
from ngldm.sampling.samplers import ancestral, ddim, dpmpp_2m, heun, posterior
from ngldm.sampling.timesteps import inference_timesteps

Denoise = Callable[[Tensor, int], Prediction]


def coefficients(schedule: Schedule, t: int) -> tuple[float, float]:
    return float(schedule.signal[t]), float(schedule.noise[t])


def normal_data(schedule: Schedule, m: float, s: float) -> Denoise:
    """Exact for x_0 from N(m, s^2) and Gaussian noise."""

    def denoise(x: Tensor, t: int) -> Prediction:
        a, b = coefficients(schedule, t)
        x0 = m + a * s**2 / (a**2 * s**2 + b**2) * (x - a * m)
        return Prediction(x0, (x - a * x0) / b)

    return denoise


def never() -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


# Heun


def carried(
    sampler: Callable[..., Tensor], schedule: Schedule, m: float, s: float, timesteps: list[int]
) -> tuple[float, float]:
    """Mean and deviation of what the exact N(a m, a^2 s^2 + b^2) at T becomes; the flow of normal data is affine."""
    a, b = coefficients(schedule, schedule.num_train_timesteps)
    x = torch.tensor([a * m, a * m + math.hypot(a * s, b)], dtype=torch.float64)
    low, high = sampler(normal_data(schedule, m, s), schedule, x, never, timesteps).tolist()
    return low, high - low


NORMALS = [(0.5, 0.5), (2.0, 0.3), (0.0, 1.0), (1.0, 2.0)]


@pytest.mark.parametrize(("m", "s"), NORMALS)
@pytest.mark.parametrize("spacing", ["trailing", "quadratic"])
@pytest.mark.parametrize(("name", "zero"), [("cosine", False), ("cosine", True), ("linear", True), ("sigmoid", False)])
def test_heun_keeps_normal_data(name: str, zero: bool, spacing: str, m: float, s: float) -> None:
    """39 calls: the deviation within 6 % with even spacing, whose last step is long (13 % for s = 0.3), and 1 % with
    quadratic. In sigma it was 38 to 13700 % off with cosine betas."""
    schedule = make_schedule(name, 1000, zero_terminal_snr=zero)
    mean, deviation = carried(heun, schedule, m, s, inference_timesteps(schedule, 20, spacing))
    bound = 0.01 if spacing == "quadratic" else 0.13 if s == 0.3 else 0.06
    assert deviation == pytest.approx(s, rel=bound)
    assert mean == pytest.approx(m, abs=2.0 * bound * s)


def even_angles(total: int, zero: bool) -> Schedule:
    """abar = cos(phi)^2 at T even angles up to 0.999 pi / 2. Named schedules are not even in phi."""
    abar = torch.cos(torch.linspace(0.0, 0.999 * math.pi / 2.0, total + 1, dtype=torch.float64)) ** 2
    schedule = Schedule.from_betas(1.0 - abar[1:] / abar[:-1])
    return schedule.with_zero_terminal_snr() if zero else schedule


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(("m", "s"), NORMALS)
def test_heuns_error_falls_with_the_square_of_the_step(m: float, s: float, zero: bool) -> None:
    """Twice the steps, a quarter of the error: between 3 and 5."""
    schedule = even_angles(8000, zero)
    errors = [abs(carried(heun, schedule, m, s, inference_timesteps(schedule, n))[1] - s) for n in (100, 200, 400)]
    for coarse, fine in pairwise(errors):
        assert 3.0 < coarse / fine < 5.0


class TwoNormals:
    """x_0 from an equal mixture of N(-1, s^2) and N(1, s^2), Gaussian noise. In 1-D the flow maps quantiles."""

    def __init__(self, schedule: Schedule, s: float) -> None:
        self.schedule, self.s = schedule, s

    def denoise(self, x: Tensor, t: int) -> Prediction:
        a, b = coefficients(self.schedule, t)
        variance = a**2 * self.s**2 + b**2
        which = torch.tanh(a * x / variance)  # E of the sign, by Bayes' rule
        x0 = which + a * self.s**2 / variance * (x - a * which)
        return Prediction(x0, (x - a * x0) / b)

    def cdf(self, x: float, t: int) -> float:
        a, b = coefficients(self.schedule, t)
        law = stats.norm(scale=math.hypot(a * self.s, b))
        return float(0.5 * (law.cdf(x - a) + law.cdf(x + a)))

    def mapped(self, x: float) -> float:
        total = self.schedule.num_train_timesteps
        wanted = self.cdf(x, total)
        return float(optimize.brentq(lambda y: self.cdf(y, 0) - wanted, -6.0, 6.0, xtol=1e-12))


@pytest.mark.parametrize("zero", [False, True])
def test_heun_maps_quantiles_of_a_mixture(zero: bool) -> None:
    """Against scipy's root of the distribution functions; second order again."""
    schedule = even_angles(8000, zero)
    problem, points = TwoNormals(schedule, 0.4), [-2.0, -0.8, -0.1, 0.05, 0.5, 1.5]
    exact = torch.tensor([problem.mapped(x) for x in points], dtype=torch.float64)
    x = torch.tensor(points, dtype=torch.float64)
    errors = [
        float((heun(problem.denoise, schedule, x, never, inference_timesteps(schedule, n)) - exact).abs().max())
        for n in (50, 100, 200)
    ]
    assert errors[0] < 0.02
    for coarse, fine in pairwise(errors):
        assert 3.0 < coarse / fine < 5.5


def test_heun_tends_to_what_diffusers_tends_to() -> None:
    """diffusers integrates in sigma: both approach the same flow, and each other, as the square of the step."""
    schedule, x = make_schedule("linear", 1000), torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)
    denoise = normal_data(schedule, 0.5, 0.5)
    apart = []
    for count in (100, 200, 1000):
        scheduler = HeunDiscreteScheduler(
            1000, beta_schedule="linear", timestep_spacing="trailing", beta_start=1e-4, beta_end=0.02
        )
        scheduler.set_timesteps(count)
        theirs = x / float(schedule.signal[1000])
        for t in scheduler.timesteps:
            eps = denoise(scheduler.scale_model_input(theirs, t), int(t) + 1).eps
            theirs = scheduler.step(eps, t, theirs).prev_sample
        ours = heun(denoise, schedule, x, never, inference_timesteps(schedule, count))
        apart.append(float((ours - theirs).abs().max()))
    assert 3.0 < apart[0] / apart[1] < 5.0
    assert apart[2] < 2e-3


# Posterior


def deviation_of(sampler: Callable[..., Tensor], schedule: Schedule, m: float, s: float, **options: float) -> float:
    """Of the samples, exactly: with an affine denoiser they are affine in x_T and in each draw, so each of those,
    switched on alone in one entry of the batch, shows what it adds."""
    total = schedule.num_train_timesteps
    a, b = coefficients(schedule, total)
    x = torch.full((total + 1,), a * m, dtype=torch.float64)
    x[0] += math.hypot(a * s, b)
    calls = iter(range(1, total))

    def source() -> Tensor:
        z = torch.zeros(total + 1, dtype=torch.float64)
        z[next(calls)] = 1.0
        return z

    out = sampler(normal_data(schedule, m, s), schedule, x, source, list(range(total, 0, -1)), **options)
    assert float(out[-1]) == pytest.approx(m, abs=0.05 * s)  # nothing switched on: the mean
    return float((out - out[-1]).square().sum().sqrt())


@pytest.mark.parametrize("refresh", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_posterior_keeps_normal_data_in_the_limit_of_many_steps(name: str, refresh: float) -> None:
    """The same diffusion in 50, 500 and 4000 steps: the error falls with the step, tenfold and eightfold, give or take.

    With a share fixed per step it stayed at 1.5 % (refresh 0.1), 8 % (0.5) and 30 % (1).
    """
    errors = []
    for total in (50, 500, 4000):
        schedule = make_schedule(name, total, 0.1 / total, 20.0 / total)
        errors.append(abs(deviation_of(posterior, schedule, 1.0, 0.5, refresh=refresh) / 0.5 - 1.0))
    assert errors[2] < 0.003
    assert errors[0] / errors[1] > 6.0
    assert errors[1] / errors[2] > 6.0


def test_posterior_is_ddpms_for_refresh_1_and_tends_to_ddim_below() -> None:
    """The same draws: equal for 1, and for 1/4 (eta 1/2) nearer with more steps."""
    apart = {}
    for total in (50, 1000):
        schedule, timesteps = make_schedule("linear", total, 0.1 / total, 20.0 / total), list(range(total, 0, -1))
        denoise, x = normal_data(schedule, 1.0, 0.5), torch.linspace(-2.0, 2.0, 8, dtype=torch.float64)

        def made(sampler: Callable[..., Tensor], **options: object) -> Tensor:
            generator = torch.Generator().manual_seed(1)
            return sampler(
                denoise,  # noqa: B023
                schedule,  # noqa: B023
                x,  # noqa: B023
                lambda: torch.randn(8, generator=generator, dtype=torch.float64),
                timesteps,  # noqa: B023
                **options,
            )

        one = made(posterior, refresh=1.0)
        torch.testing.assert_close(one, made(ancestral, variance="posterior"), rtol=1e-8, atol=1e-8)
        apart[total] = float((made(posterior, refresh=0.25) - made(ddim, eta=0.5)).abs().max())
    assert apart[1000] < 0.3 * apart[50]
    assert apart[1000] < 0.02


# Three atoms: the share of each, by quadrature over quantiles of x_T

ATOMS = torch.tensor([-1.3, 0.1, 1.4], dtype=torch.float64)
SHARES = torch.tensor([0.3, 0.45, 0.25], dtype=torch.float64)
ATOMS = (ATOMS - (SHARES * ATOMS).sum()) / (SHARES * (ATOMS - (SHARES * ATOMS).sum()) ** 2).sum().sqrt()


def three_atoms(schedule: Schedule, noise: Noise) -> Denoise:
    """Bayes' rule; where no atom is possible (a finite step left D's support), the nearest to possible."""

    def denoise(x: Tensor, t: int) -> Prediction:
        a, b = coefficients(schedule, t)
        u = (x[:, None] - a * ATOMS) / b
        logits = SHARES.log() + noise.log_prob(u)
        none = torch.isneginf(logits).all(1, keepdim=True)
        x0 = torch.where(none, -1e3 * u.abs(), logits).softmax(1) @ ATOMS
        return Prediction(x0, (x - a * x0) / b)

    return denoise


def total_variation(schedule: Schedule, noise: Noise, start: Noise, timesteps: list[int], count: int = 4000) -> float:
    """Of dpmpp_2m's shares of the atoms from the true ones."""
    x = start.icdf((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    result = dpmpp_2m(three_atoms(schedule, noise), schedule, x, never, timesteps)
    nearest = (result[:, None] - ATOMS).abs().argmin(1)
    return 0.5 * float((torch.bincount(nearest, minlength=3) / count - SHARES).abs().sum())


FIVE = ["gaussian", "laplace", "exponential", "uniform", "gumbel"]


@pytest.mark.parametrize("name", FIVE)
@pytest.mark.parametrize(("betas", "zero"), [("linear", False), ("cosine", False), ("linear", True), ("cosine", True)])
def test_twenty_karras_steps_give_the_right_shares(betas: str, zero: bool, name: str) -> None:
    """Up to 0.67 from a schedule's own sigma_T (cosine, zero terminal SNR)."""
    schedule, noise = make_schedule(betas, 1000, zero_terminal_snr=zero), make_noise(name)
    assert total_variation(schedule, noise, noise, inference_timesteps(schedule, 20, "karras")) < 0.03


@pytest.mark.parametrize("betas", ["cosine", "linear"])
@pytest.mark.parametrize("sigma_max", [None, 40.0, 10.0])
def test_karras_is_the_authors_below_the_bound(betas: str, sigma_max: float | None) -> None:
    """diffusers' levels of eq. 5 from the bound, but for the first, which is T; nearest whole t of 8000."""
    schedule = make_schedule(betas, 8000, beta_start=1.25e-5, beta_end=0.0025, zero_terminal_snr=True)
    timesteps = inference_timesteps(schedule, 12, "karras", sigma_max)
    abar = schedule.alphas_cumprod
    least = float(((1.0 - abar[1]) / abar[1]).sqrt())
    scheduler = EDMEulerScheduler(sigma_min=max(least, 0.002), sigma_max=sigma_max or 80.0, rho=7.0)
    scheduler.set_timesteps(12)
    sigma = ((1.0 - abar[timesteps]) / abar[timesteps]).sqrt()
    assert timesteps[0] == 8000
    roots, theirs = sigma[1:] ** (1.0 / 7.0), scheduler.sigmas[1:12].double() ** (1.0 / 7.0)
    assert float((roots - theirs).abs().max()) < 0.06


def test_karras_does_not_go_below_its_least_sigma() -> None:
    """A schedule whose sigma_1 is 3e-5 has steps down to 0.002 alone, up to the rounding to whole t."""
    schedule = Schedule.from_betas(torch.logspace(-9.0, -1.0, 400, dtype=torch.float64))
    abar = float(schedule.alphas_cumprod[inference_timesteps(schedule, 10, "karras")[-1]])
    assert math.sqrt((1.0 - abar) / abar) == pytest.approx(0.002, rel=0.1)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_bound_that_is_not_above_0_is_named(value: float) -> None:
    with pytest.raises(InputError, match=r"sigma_max: .* must be above 0"):
        inference_timesteps(make_schedule("linear", 10), 5, "karras", value)


def test_the_bound_is_an_option_of_karras_alone() -> None:
    check_settings({"method": "ddim", "timestep_spacing": "karras", "sigma_max": 40.0})
    with pytest.raises(InputError, match=r"sigma_max: not an option of timestep_spacing 'trailing', only of karras"):
        check_settings({"method": "ddim", "timestep_spacing": "trailing", "sigma_max": 40.0})


# Where sampling starts


@pytest.mark.parametrize("name", noise_names())
def test_the_best_samplers_start_from_the_models_own_noise(name: str) -> None:
    assert "start_noise" not in best_sampler(name)


@pytest.mark.parametrize("name", ["laplace", "uniform"])
def test_the_own_start_gives_the_right_shares_and_a_gaussian_one_does_not(name: str) -> None:
    """200 steps, so that what is left is the start's doing."""
    schedule, noise = make_schedule("linear", 1000), make_noise(name)
    timesteps = inference_timesteps(schedule, 200, "quadratic")
    own, other = (total_variation(schedule, noise, start, timesteps) for start in (noise, make_noise("gaussian")))
    assert own < 0.01
    assert other > 0.03


def discrete_denoiser(
    schedule: Schedule, values: Sequence[float], chances: Sequence[float], m: float, s: float
) -> Denoise:
    """Exact for x_0 from N(m, s^2) and noise of these values: given which it is, x_0 is known."""
    u = torch.tensor(values, dtype=torch.float64)
    p = torch.tensor(chances, dtype=torch.float64)

    def denoise(x: Tensor, t: int) -> Prediction:
        a, b = coefficients(schedule, t)
        points = (x[:, None].double() - b * u) / a
        eps = (p.log() - 0.5 * ((points - m) / s) ** 2).softmax(1) @ u
        return Prediction((x - b * eps) / a, eps)

    return denoise


@pytest.mark.parametrize(
    ("name", "params", "law"),
    [
        ("bernoulli", {}, stats.binom(1, 0.5)),
        ("bernoulli", {"p": 0.2}, stats.binom(1, 0.2)),
        ("binomial", {"n": 4, "p": 0.5}, stats.binom(4, 0.5)),
    ],
)
def test_discrete_noise_starts_from_x_T_and_keeps_the_data(name: str, params: dict, law: stats.rv_discrete) -> None:
    """From its own start a deterministic sampler returns one image for each value; from x_T it returns N(1, 0.5^2)."""
    schedule, noise, count = make_schedule("linear", 1000), make_noise(name, params), 4000
    values = np.arange(law.support()[0], law.support()[1] + 1)
    standard = (values - law.mean()) / law.std()
    denoise = discrete_denoiser(schedule, standard.tolist(), law.pmf(values).tolist(), 1.0, 0.5)
    extent = LatentExtent(torch.full((1,), 1.0), torch.full((1,), 0.5), torch.zeros(1), torch.ones(1))
    forward = Marginal(noise)
    made = {}
    for choice in (None, "own"):
        x = start_draw(choice, forward, schedule, extent)((count, 1), torch.Generator().manual_seed(2))[:, 0].double()
        made[choice] = heun(denoise, schedule, x, never, inference_timesteps(schedule, 500))
    assert len(made["own"].round(decimals=6).unique()) <= len(values)
    assert len(made[None].unique()) > 0.9 * count
    assert stats.kstest(made[None].numpy(), stats.norm(1.0, 0.5).cdf).statistic < 2.0 / math.sqrt(count) + 0.01


@pytest.mark.parametrize("name", ["gaussian", "laplace", "exponential"])
def test_other_noise_starts_from_its_own(name: str) -> None:
    forward, schedule, extent = Marginal(make_noise(name)), make_schedule("linear", 10), LatentExtent.standard((3,))
    default, own = (
        start_draw(choice, forward, schedule, extent)((4, 3), torch.Generator().manual_seed(1))
        for choice in (None, "own")
    )
    assert torch.equal(default, own)
