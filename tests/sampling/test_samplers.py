"""Samplers: step by step against diffusers, and against problems whose answer is known."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import diffusers.schedulers.scheduling_ddpm as diffusers_ddpm
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from ngldm.diffusion.forward import AnnealedMarginal, make_forward
from ngldm.diffusion.objective import predict_x0
from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import Noise, make_noise
from ngldm.noise.laws.filtered import spectrum_of
from ngldm.sampling.denoiser import make_denoiser
from ngldm.sampling.randomness import PerImageNoise
from ngldm.sampling.samplers import ancestral, annealed_ddim, ddim, get_sampler
from ngldm.sampling.timesteps import Step, inference_timesteps

NAMES = ["exponential", "gaussian", "gumbel", "laplace", "uniform"]
SHAPE = (4, 2, 3, 3)
Run = tuple[Tensor, list[Step]]


def fake_model(x: Tensor, t: Tensor) -> Tensor:
    """Smooth, nonlinear in x, different for every t and every position."""
    phase = torch.linspace(0.0, 2.0, x[0].numel(), dtype=x.dtype).reshape(x.shape[1:])
    return torch.sin(0.7 * x + 0.05 * t[:, None, None, None] + phase) + 0.3 * torch.tanh(x)


def normals(count: int, shape: tuple = SHAPE, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def feed(tensors: list[Tensor]) -> Callable[[], Tensor]:
    """A source that hands out these tensors in turn, and fails when they run out."""
    iterator = iter(tensors)
    return lambda: next(iterator)


def call(
    sampler: Callable,
    model: Callable,
    schedule: Schedule,
    source: Callable,
    *,
    num_inference_steps: int,
    **options: Any,
) -> Tensor:
    """A sampler of an eps-predicting model, started from the source's first draw, on trailing timesteps."""
    spacing = options.pop("timestep_spacing", "trailing")
    timesteps = inference_timesteps(schedule, num_inference_steps, spacing)
    return sampler(make_denoiser(model, schedule), schedule, source(), source, timesteps, **options)


def record(sampler: Callable, model: Callable, schedule: Schedule, source: Callable, **options: Any) -> Run:
    steps: list[Step] = []
    result = call(sampler, model, schedule, source, callback=steps.append, **options)
    return result, steps


# Against diffusers

CHAINS = [(60, 60), (60, 20), (60, 12), (1000, 50), (1000, 1)]
SCHEDULE_NAMES = {"linear": "linear", "quadratic": "scaled_linear"}


def in_float64(scheduler: DDPMScheduler | DDIMScheduler, num_inference_steps: int) -> DDPMScheduler | DDIMScheduler:
    """diffusers' update rules with coefficients in float64, rather than its float32, so that steps compare tightly.

    Recomputed from the ends of its own configuration, not taken from ngldm.
    """
    config = scheduler.config
    power = {"linear": 1, "scaled_linear": 2}[config.beta_schedule]
    ends = (value ** (1 / power) for value in (config.beta_start, config.beta_end))
    betas = torch.linspace(*ends, config.num_train_timesteps, dtype=torch.float64) ** power
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
    scheduler.set_timesteps(num_inference_steps)
    return scheduler


def compare(run: Run, theirs: Iterator[tuple[int, Tensor, Tensor]], last: Tensor) -> None:
    """x_t and the prediction of x_0 at every step, then the result. Float64 throughout: only rounding, which the
    first steps' division by sqrt(abar_t) >= 0.006 magnifies, tells the two apart."""
    result, steps = run
    for step, (t, x, x0) in zip(steps, theirs, strict=True):
        assert step.t == t + 1  # diffusers counts from 0
        torch.testing.assert_close(step.x, x, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(step.x0, x0, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(result, last, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("total", "count"), CHAINS)
@pytest.mark.parametrize("name", SCHEDULE_NAMES)
@pytest.mark.parametrize(("variance", "variance_type"), [("beta", "fixed_large"), ("posterior", "fixed_small")])
def test_ancestral_is_ddpm(
    variance: str, variance_type: str, name: str, total: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer steps than T, diffusers' last step (its timestep is above 0) adds noise, against the paper: it is
    fed zeros there."""
    scheduler = in_float64(
        DDPMScheduler(
            total,
            beta_schedule=SCHEDULE_NAMES[name],
            variance_type=variance_type,
            clip_sample=False,
            timestep_spacing="trailing",
        ),
        count,
    )
    noises = normals(count)
    draw = feed([*noises[1:], torch.zeros(SHAPE, dtype=torch.float64)])
    monkeypatch.setattr(diffusers_ddpm, "randn_tensor", lambda *_, **__: draw())
    x, theirs = noises[0], []
    for t in scheduler.timesteps:
        output = scheduler.step(fake_model(x, (t + 1).expand(len(x))), t, x)
        theirs.append((int(t), x, output.pred_original_sample))
        x = output.prev_sample
    options = {"num_inference_steps": count, "variance": variance}
    compare(record(ancestral, fake_model, make_schedule(name, total), feed(noises), **options), theirs, x)


@pytest.mark.parametrize(("total", "count"), CHAINS)
@pytest.mark.parametrize("name", SCHEDULE_NAMES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_diffusers(eta: float, name: str, total: int, count: int) -> None:
    scheduler = in_float64(
        DDIMScheduler(
            total,
            beta_schedule=SCHEDULE_NAMES[name],
            clip_sample=False,
            set_alpha_to_one=True,
            timestep_spacing="trailing",
        ),
        count,
    )
    noises = normals(count)
    draw = feed([*noises[1:], torch.zeros(SHAPE, dtype=torch.float64)])  # the last step's sigma is 0
    x, theirs = noises[0], []
    for t in scheduler.timesteps:
        output = scheduler.step(fake_model(x, (t + 1).expand(len(x))), int(t), x, eta=eta, variance_noise=draw())
        theirs.append((int(t), x, output.pred_original_sample))
        x = output.prev_sample
    options = {"num_inference_steps": count, "eta": eta}
    compare(record(ddim, fake_model, make_schedule(name, total), feed(noises), **options), theirs, x)


@pytest.mark.parametrize("count", [60, 15, 7])
def test_ddim_with_eta_1_is_ancestral_with_the_posterior_variance(count: int) -> None:
    schedule, noises = make_schedule("cosine", 60), normals(count)
    one = call(ancestral, fake_model, schedule, feed(noises), num_inference_steps=count, variance="posterior")
    other = call(ddim, fake_model, schedule, feed(noises), num_inference_steps=count, eta=1.0)
    torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


# Problems with a known answer


def noise_source(noise: Noise, shape: tuple, generator: torch.Generator) -> Callable[[], Tensor]:
    return lambda: noise.sample(shape, generator)


def gaussian_model(mean: float, std: float, schedule: object) -> Callable[[Tensor, Tensor], Tensor]:
    """E(eps | x_t) for x_0 from N(mean, std^2) and Gaussian eps: linear in x_t."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        abar = float(schedule.alphas_cumprod[t[0]])
        return (1 - abar) ** 0.5 * (x - abar**0.5 * mean) / (abar * std**2 + 1 - abar)

    return model


@pytest.mark.parametrize(("mean", "std"), [(2.0, 0.5), (-1.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        (ddim, {"eta": 0.0}),
        (ddim, {"eta": 1.0}),
        (ancestral, {"variance": "beta"}),
        (ancestral, {"variance": "posterior"}),
    ],
)
def test_optimal_model_brings_gaussian_noise_to_the_data(
    sampler: Callable, options: dict, mean: float, std: float
) -> None:
    """N(0, 1) ends at N(m, s^2).

    Bounds: 5 standard errors, s / sqrt(n) for the mean and s / sqrt(2 n) for the standard deviation, and for
    discretisation 2 % of s: the start ignores m sqrt(abar_T), at most 2.5 % of s here, of which ddim keeps half, and
    500 steps are wrong by up to 1 % of s in the noise they add.
    """
    n, schedule = 8192, make_schedule("linear", 1000)
    source = noise_source(make_noise("gaussian"), (n,), torch.Generator().manual_seed(1))
    x = call(
        sampler, gaussian_model(mean, std, schedule), schedule, source, num_inference_steps=500, **options
    ).double()
    assert float(x.mean()) == pytest.approx(mean, abs=std * (5 / math.sqrt(n) + 0.02))
    assert float(x.std()) == pytest.approx(std, abs=std * (5 / math.sqrt(2 * n) + 0.02))


def point_model(point: Tensor | float, schedule: object) -> Callable[[Tensor, Tensor], Tensor]:
    """eps of x_t when all data is one point."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        abar = float(schedule.alphas_cumprod[t[0]])
        return (x - abar**0.5 * point) / (1 - abar) ** 0.5

    return model


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_ddim_ends_at_the_only_data_point(name: str, eta: float, count: int) -> None:
    schedule, point = make_schedule("linear", 40, 1e-3, 0.2), normals(1, (2, 3, 3), seed=9)[0].float()
    source = noise_source(make_noise(name), SHAPE, torch.Generator().manual_seed(2))
    x = call(ddim, point_model(point, schedule), schedule, source, num_inference_steps=count, eta=eta)
    torch.testing.assert_close(x, point.expand(SHAPE), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_ddim_keeps_the_trained_marginals(name: str) -> None:
    """eta = 0: at every t, x_t = sqrt(abar_t) x* + sqrt(1 - abar_t) eps with one eps, near the first draw."""
    schedule, point = make_schedule("linear", 40, 1e-3, 0.4), 0.5
    draw = make_noise(name).sample(SHAPE, torch.Generator().manual_seed(3), dtype=torch.float64)
    _, steps = record(ddim, point_model(point, schedule), schedule, feed([draw]), num_inference_steps=20)
    abar = schedule.alphas_cumprod
    eps = [(step.x - abar[step.t].sqrt() * point) / (1 - abar[step.t]).sqrt() for step in steps]
    for other in eps[1:]:
        torch.testing.assert_close(other, eps[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(eps[0], draw, rtol=1e-2, atol=1e-2)  # abar_T = 1e-4


def means_by_t(name: str, schedule: object, n: int) -> dict[int, float]:
    source = noise_source(make_noise(name), (n,), torch.Generator().manual_seed(4))
    total = schedule.num_train_timesteps
    _, steps = record(ancestral, point_model(0.0, schedule), schedule, source, num_inference_steps=total)
    return {step.t: float(step.x.double().mean()) for step in steps}


def test_uncentred_exponential_drifts_under_ancestral_sampling() -> None:
    """The paper's bug: mean-1 noise adds sqrt(beta_t) to the mean at every step, which the network never saw.

    All data at 0, so that x <- x sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t) + sqrt(beta_t) z (Ho et al. 2020,
    eq. 7): the mean obeys the same recursion with E z. Both chains have a variance below 1.1, the bound of their mean
    is 5 sqrt(1.1 / n).
    """
    n, schedule = 4096, make_schedule("linear", 200, 1e-3, 0.1)
    centred, uncentred = means_by_t("exponential", schedule, n), means_by_t("exponential_uncentred", schedule, n)
    bound = 5 * math.sqrt(1.1 / n)
    abar, expected = schedule.alphas_cumprod.tolist(), 1.0
    for t in range(200, 0, -1):
        assert centred[t] == pytest.approx(0.0, abs=bound)
        assert uncentred[t] == pytest.approx(expected, abs=bound)
        alpha = abar[t] / abar[t - 1]
        expected = expected * alpha**0.5 * (1 - abar[t - 1]) / (1 - abar[t]) + (1 - alpha) ** 0.5
    assert uncentred[100] > 5.0


# How noise is used


@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize(
    ("sampler", "options", "draws_per_step"),
    [
        (ancestral, {"variance": "beta"}, 1),
        (ancestral, {"variance": "posterior"}, 1),
        (ddim, {"eta": 0.5}, 1),
        (ddim, {}, 0),
    ],
)
def test_one_draw_to_start_and_none_in_the_last_step(
    sampler: Callable, options: dict, draws_per_step: int, count: int
) -> None:
    draws: list[Tensor] = []

    def source() -> Tensor:
        draws.append(torch.ones(SHAPE))
        return draws[-1]

    call(sampler, fake_model, make_schedule("linear", 10), source, num_inference_steps=count, **options)
    assert len(draws) == 1 + draws_per_step * (count - 1)


@pytest.mark.parametrize(("method", "options"), [("ancestral", {}), ("ddim", {}), ("ddim", {"eta": 1.0})])
def test_a_sampled_image_does_not_depend_on_its_batch(method: str, options: dict) -> None:
    """Up to rounding of the model on other batch sizes. 20 steps, two blocks and a bit."""
    schedule, shape = make_schedule("cosine", 20), (3, 24, 24)
    law = make_noise("laplace")

    def sample(seeds: list[int]) -> Tensor:
        source = PerImageNoise(law, shape, [torch.Generator().manual_seed(seed) for seed in seeds], steps=20)
        return call(get_sampler(method), fake_model, schedule, source, num_inference_steps=20, **options)

    together = sample([0, 1, 2, 3, 4, 5, 6])
    torch.testing.assert_close(sample([4]), together[4:5], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[4], together[5], atol=0.1)


# The callback and the model's arguments


@pytest.mark.parametrize("method", ["ancestral", "ddim"])
def test_callback_sees_each_step_before_it_is_made(method: str) -> None:
    schedule, noises = make_schedule("linear", 10), normals(4)
    seen: list[tuple[Tensor, Tensor]] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, t))
        return fake_model(x, t)

    result, steps = record(get_sampler(method), model, schedule, feed(noises), num_inference_steps=4)
    assert [(step.index, step.t, step.t_next) for step in steps] == [(0, 10, 8), (1, 8, 5), (2, 5, 2), (3, 2, 0)]
    for step, (x, t) in zip(steps, seen, strict=True):
        assert torch.equal(step.x, x)
        assert t.tolist() == [step.t] * len(x)
        torch.testing.assert_close(step.x0, predict_x0(schedule, x, fake_model(x, t), t), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result, steps[-1].x0, rtol=1e-9, atol=1e-9)  # without noise, the last step is x0_hat


@pytest.mark.parametrize("method", ["ancestral", "ddim"])
def test_every_timestep_is_visited_with_T_steps(method: str) -> None:
    schedule = make_schedule("linear", 12)
    _, steps = record(get_sampler(method), fake_model, schedule, feed(normals(12)), num_inference_steps=12)
    assert [(step.t, step.t_next) for step in steps] == [(t, t - 1) for t in range(12, 0, -1)]


@pytest.mark.parametrize("method", ["ancestral", "ddim"])
def test_no_gradient_is_kept(method: str) -> None:
    weight = torch.ones((), requires_grad=True)
    sampler, schedule = get_sampler(method), make_schedule("linear", 3)
    x = call(sampler, lambda x, t: weight * x, schedule, feed(normals(3)), num_inference_steps=3)
    assert not x.requires_grad


@pytest.mark.parametrize(("name", "beta_end"), [("linear", 0.02), ("cosine", 0.02), ("constant", 0.1)])
@pytest.mark.parametrize("count", [1, 2, 10, 1000])
@pytest.mark.parametrize(("method", "options"), [("ancestral", {}), ("ddim", {}), ("ddim", {"eta": 1.0})])
def test_results_are_real_and_finite(method: str, options: dict, count: int, name: str, beta_end: float) -> None:
    """abar_T from 4e-5 down to 1e-46, with a model that knows its data, a single point."""
    schedule = make_schedule(name, 1000, beta_end=beta_end)
    source = feed(normals(count, (3,)))
    x = call(get_sampler(method), point_model(0.0, schedule), schedule, source, num_inference_steps=count, **options)
    assert x.dtype == torch.float64
    assert bool(torch.isfinite(x).all())


# Bad input


@pytest.mark.parametrize("method", ["ancestral", "ddim"])
@pytest.mark.parametrize("count", [0, -1, 11])
def test_step_count_out_of_range(method: str, count: int) -> None:
    with pytest.raises(InputError, match=rf"num_inference_steps: {count} must be between 1 and .* = 10"):
        call(get_sampler(method), fake_model, make_schedule("linear", 10), feed(normals(1)), num_inference_steps=count)


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan, math.inf])
def test_eta_out_of_range(eta: float) -> None:
    with pytest.raises(InputError, match=rf"eta: {eta} must be in \[0, 1\]"):
        call(ddim, fake_model, make_schedule("linear", 10), feed(normals(1)), num_inference_steps=2, eta=eta)


def test_unknown_variance_lists_the_choices() -> None:
    schedule = make_schedule("linear", 10)
    with pytest.raises(InputError, match="unknown variance 'learned'; choose one of: beta, posterior"):
        call(ancestral, fake_model, schedule, feed(normals(1)), num_inference_steps=2, variance="learned")


def test_unknown_method_lists_the_choices() -> None:
    with pytest.raises(InputError, match="unknown sampler method 'euler'; choose one of: ancestral, ddim"):
        get_sampler("euler")


def test_methods_by_name() -> None:
    assert get_sampler("ancestral") is ancestral
    assert get_sampler("ddim") is ddim


def test_annealed_ddim_keeps_the_spectrum_of_gaussian_data_and_ddim_does_not() -> None:
    """Data of a known spectrum P, with the exact conditional means: the flow scales each frequency to sqrt(P)."""
    schedule, item = make_schedule("cosine", 1000), (1, 8, 8)
    law = make_noise("annealed", {"first": {"distribution": "power_law", "beta": 2.0}, "width": 0.7})
    forward = make_forward("marginal", law, schedule)
    assert isinstance(forward, AnnealedMarginal)
    white, pink = torch.ones(8, 8, dtype=torch.float64), spectrum_of(make_noise("power_law", {"beta": 2.0}), item)
    assert pink is not None
    data = 0.3 + torch.rand(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    data = data + data.roll((-1, -1), (0, 1)).flip(0, 1)  # a real image's: the same at f and -f
    abar = schedule.alphas_cumprod

    def spectra(t: int) -> tuple[torch.Tensor, torch.Tensor]:
        w = torch.sigmoid(0.5 * torch.logit(abar[t]) / 0.7)
        return abar[t] * data, (1.0 - abar[t]) * ((1.0 - w) * pink + w * white)

    def denoise(x: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        signal, noise = spectra(t)
        shares = (signal / (signal + noise) / abar[t].sqrt(), noise / (signal + noise) / (1.0 - abar[t]).sqrt())
        x0, eps = (torch.fft.ifft2(torch.fft.fft2(x) * share).real for share in shares)
        return x0, eps

    impulse = torch.zeros(1, *item, dtype=torch.float64)
    impulse[..., 0, 0] = 1.0
    signal, noise = spectra(1000)
    x = torch.fft.ifft2(torch.fft.fft2(impulse) * (signal + noise).sqrt()).real
    steps = list(range(1000, 0, -2))
    found = torch.fft.fft2(annealed_ddim(forward.carry)(denoise, schedule, x, None, steps)).abs()[0, 0]
    torch.testing.assert_close(found, data.sqrt(), rtol=0.02, atol=0.0)
    plain = torch.fft.fft2(ddim(denoise, schedule, x, None, steps)).abs()[0, 0]
    assert float((plain / data.sqrt() - 1.0).abs().max()) > 0.2


def test_annealed_ddim_is_right_for_noise_of_one_scale_too() -> None:
    """Two atoms and t noise that turns from pink to white: the exact posterior is that of L_t^-1 (x - a x_0) / b."""
    schedule, item, df, count = make_schedule("cosine", 1000), (1, 4, 4), 5.0, 4000
    base = {"distribution": "multivariate_t", "df": df}
    first = {"distribution": "power_law", "beta": 2.0, "base": base}
    forward = make_forward("marginal", make_noise("annealed", {"first": first, "second": base}), schedule)
    assert isinstance(forward, AnnealedMarginal)
    pink = spectrum_of(make_noise("power_law", {"beta": 2.0}), item)
    assert pink is not None
    atoms = torch.ones(2, *item, dtype=torch.float64) * torch.tensor([-0.4, 1.0], dtype=torch.float64).reshape(
        2, 1, 1, 1
    )
    shares = torch.tensor([0.7, 0.3], dtype=torch.float64)

    def denoise(x: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        abar = schedule.alphas_cumprod[t]
        w = torch.sigmoid(0.5 * torch.logit(abar))
        n = (x[:, None].double() - abar.sqrt() * atoms) / (1.0 - abar).sqrt()
        m = torch.fft.ifft2(torch.fft.fft2(n) / ((1.0 - w) * pink + w).sqrt()).real.flatten(2)
        logs = shares.log() - (df + 16) / 2 * torch.log1p(m.square().sum(2) / (df - 2))
        x0 = torch.einsum("bk,kchw->bchw", logs.softmax(1), atoms)
        return x0, (x - abar.sqrt() * x0) / (1.0 - abar).sqrt()

    x = forward.sample((count, *item), torch.full((count,), 1000), torch.Generator().manual_seed(0)).double()
    x = annealed_ddim(forward.carry)(denoise, schedule, x, None, list(range(1000, 0, -10)))
    torch.testing.assert_close(x.std((1, 2, 3)), torch.zeros(count, dtype=torch.float64), rtol=0, atol=1e-3)  # atoms
    assert float((x[:, 0, 0, 0] > 0.3).double().mean()) == pytest.approx(0.3, abs=4 * (0.21 / count) ** 0.5)
