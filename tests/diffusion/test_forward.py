"""Both forward processes, the objectives, and what samplers start from."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from ngldm.data.statistics import LatentExtent
from ngldm.diffusion.forward import Marginal, Markov, make_forward
from ngldm.diffusion.objective import Objective, add_noise, predict_eps, predict_x0, velocity
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import make_noise
from ngldm.sampling.denoiser import X0Handling, make_denoiser
from ngldm.sampling.randomness import start_draw, start_per_image, step_draw
from ngldm.sampling.timesteps import SPACINGS, inference_timesteps

SCHEDULE = make_schedule("linear", 100, 1e-3, 0.2)
N = 2**15


def chain(name: str, t: int, size: int) -> Tensor:
    """eps of x_t by simulating equation (1) step by step, independently of the table."""
    noise, generator = make_noise(name), torch.Generator().manual_seed(7)
    y = torch.zeros(size, dtype=torch.float64)
    for beta in SCHEDULE.betas[1 : t + 1].tolist():
        y = math.sqrt(1 - beta) * y + math.sqrt(beta) * noise.sample((size,), generator, dtype=torch.float64)
    return y / math.sqrt(1 - float(SCHEDULE.alphas_cumprod[t]))


def weights(t: int) -> Tensor:
    """Of the t draws in eps of x_t: sqrt(beta_i abar_t / abar_i / (1 - abar_t))."""
    abar = SCHEDULE.alphas_cumprod
    i = torch.arange(1, t + 1)
    return (SCHEDULE.betas[i] * abar[t] / abar[i] / (1 - abar[t])).sqrt()


@pytest.mark.parametrize("t", [1, 2, 9, 40, 93, 100])
@pytest.mark.parametrize("name", ["exponential", "laplace", "bernoulli", "uniform"])
def test_markov_noise_is_the_chains(name: str, t: int) -> None:
    """Two-sample Kolmogorov at 3 / sqrt(n / 2), and 0.01 for the table's 65536 chains and its rows in between."""
    x = Markov(make_noise(name), SCHEDULE).sample((N,), torch.full((N,), t), torch.Generator().manual_seed(1))
    if name == "bernoulli":  # atoms: compare at points between them
        points = torch.linspace(-3, 3, 41, dtype=torch.float64) + 0.0123
        ours, theirs = ((v[:, None] <= points).double().mean(0) for v in (x, chain(name, t, N)))
        distance = float((ours - theirs).abs().max())
        if t in (40, 93):  # rows nearby have their atoms elsewhere
            assert distance < 0.06
            return
    else:
        distance = stats.ks_2samp(x.numpy(), chain(name, t, N).numpy()).statistic
    assert distance < 3 * math.sqrt(2 / N) + 0.01


@pytest.mark.parametrize("t", [1, 5, 30, 100])
def test_markov_noise_has_the_chains_cumulants(t: int) -> None:
    """Skewness 2 sum w^3 and excess kurtosis 6 sum w^4 for the exponential; mean 0 and variance 1 exactly."""
    forward, w = Markov(make_noise("exponential"), SCHEDULE), weights(t)
    row = forward._table[forward._rows.index(t) if t in forward._rows else -1].double()
    assert float(row.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(row.square().mean()) == pytest.approx(1.0, abs=1e-5)
    if t in forward._rows:
        assert float((row**3).mean()) == pytest.approx(2 * float((w**3).sum()), abs=0.12)


@pytest.mark.parametrize("t", [1, 9, 40, 100])
def test_the_mean_of_uncentred_noise_adds_up_along_the_chain(t: int) -> None:
    """Sum of the weights times the mean 1; variance 1. 5 standard errors, and 1 % for t between rows."""
    forward, size = Markov(make_noise("exponential_uncentred"), SCHEDULE), 2**17
    x = forward.sample((size,), torch.full((size,), t), torch.Generator().manual_seed(1)).double()
    expected = float(weights(t).sum())
    between = 0.0 if t in forward._rows else 0.01
    assert float(x.mean()) == pytest.approx(expected, rel=between, abs=5 / math.sqrt(size))
    assert float(chain("exponential_uncentred", t, N).mean()) == pytest.approx(expected, abs=5 / math.sqrt(N))
    assert float(x.var()) == pytest.approx(1.0, abs=5 * math.sqrt(8 / size) + 2 * between)


def test_for_gaussian_noise_both_processes_are_the_same() -> None:
    t = torch.randint(1, 101, (N,), generator=torch.Generator().manual_seed(0))
    x = Markov(make_noise("gaussian"), SCHEDULE).sample((N,), t, torch.Generator().manual_seed(1))
    assert stats.kstest(x.numpy(), "norm").statistic < 3 / math.sqrt(N) + 0.005


def test_marginal_is_one_draw() -> None:
    noise = make_noise("gumbel")
    x = Marginal(noise).sample((4, 2), torch.ones(4), torch.Generator().manual_seed(5))
    assert torch.equal(x, noise.sample((4, 2), torch.Generator().manual_seed(5)))


def test_unknown_forward_lists_the_choices() -> None:
    with pytest.raises(InputError, match=r"diffusion\.forward 'chain'; choose one of: marginal, markov"):
        make_forward("chain", make_noise("laplace"), SCHEDULE)


# Objectives


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
@pytest.mark.parametrize("name", ["laplace", "exponential"])
def test_the_exact_prediction_costs_nothing_and_gives_x0_and_eps_back(name: str, target: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, t = torch.randn(8, 1, 3, 3, generator=generator, dtype=torch.float64), torch.arange(1, 97, 12)
    eps = make_noise(name).sample(x0.shape, generator, dtype=torch.float64)
    x, v = add_noise(SCHEDULE, x0, eps, t), velocity(SCHEDULE, x0, eps, t)
    output = {"eps": eps, "x0": x0, "v": v}[target]
    torch.testing.assert_close(predict_x0(SCHEDULE, x, output, t, target), x0, rtol=1e-9, atol=1e-9)
    one = make_denoiser(lambda *_: output[:1], SCHEDULE, target)(x[:1], 1)
    torch.testing.assert_close(one.x0, x0[:1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one.eps, eps[:1], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("weighting", ["min_snr", "p2"])
def test_a_weighting_counts_an_error_the_same_whatever_the_target(weighting: str) -> None:
    """Errors of x_0, eps and v at one x_t are tied by x_t: the weighted squares must agree."""
    x0, error = torch.randn(1, 4, dtype=torch.float64), 0.1
    for t in (1, 10, 60, 100):
        at = torch.tensor([t])
        eps = torch.randn(1, 4, dtype=torch.float64)
        x = add_noise(SCHEDULE, x0, eps, at)
        wrong_x0 = x0 + error
        wrong_eps = predict_eps(SCHEDULE, x, wrong_x0, at)
        errors = {
            "x0": error**2,
            "eps": float((wrong_eps - eps).square().mean()),
            "v": float((velocity(SCHEDULE, wrong_x0, wrong_eps, at) - velocity(SCHEDULE, x0, eps, at)).square().mean()),
        }
        weighted = [errors[k] * float(Objective(k, weighting, 2.0).weights(SCHEDULE)[t]) for k in errors]
        assert weighted == pytest.approx([weighted[0]] * 3, rel=1e-9)


def test_min_snr_is_the_smaller_of_snr_and_gamma_on_x0() -> None:
    abar = SCHEDULE.alphas_cumprod[1:]
    expected = (abar / (1 - abar)).clamp(max=5.0)
    torch.testing.assert_close(Objective("x0", "min_snr", 5.0).weights(SCHEDULE)[1:], expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_p2_is_choi_et_al(gamma: float) -> None:
    """1 / (1 + SNR)^gamma on the error of eps, with 1 + SNR = 1 / (1 - abar); on x_0 SNR times that."""
    abar = SCHEDULE.alphas_cumprod[1:]
    for target, expected in (
        ("eps", (1 - abar) ** gamma),
        ("x0", abar * (1 - abar) ** (gamma - 1)),
        ("v", abar * (1 - abar) ** gamma),
    ):
        torch.testing.assert_close(Objective(target, "p2", gamma).weights(SCHEDULE)[1:], expected)


@pytest.mark.parametrize(("weighting", "gamma"), [("min_snr", 5.0), ("p2", 1.0)])
def test_without_a_gamma_each_weighting_has_its_own(weighting: str, gamma: float) -> None:
    ours, usual = (Objective("x0", weighting, value).weights(SCHEDULE) for value in (None, gamma))
    assert torch.equal(ours, usual)


def test_weights_reach_the_loss() -> None:
    x0 = torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(1))

    def loss(weighting: str) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        diffusion = Diffusion.make(make_noise("laplace"), SCHEDULE, objective="x0", weighting=weighting)
        return diffusion.loss(lambda x, t: torch.zeros_like(x), x0, generator)

    t = torch.randint(1, 101, (64,), generator=torch.Generator().manual_seed(2))
    weights_of_t = Objective("x0", "min_snr").weights(SCHEDULE)[t].float()
    torch.testing.assert_close(loss("min_snr"), loss("none") * weights_of_t)
    torch.testing.assert_close(loss("none"), x0.square().flatten(1).mean(1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("score",), "objective 'score'"), (("eps", "snr"), "weighting 'snr'"), (("eps", "none", 0.0), "gamma: 0.0")],
)
def test_bad_objectives_are_named(arguments: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Objective(*arguments)


# x_0 handling, starts, spacings


def test_x0_handling_by_hand() -> None:
    x0 = torch.tensor([[-4.0, 1.0, 2.0, 8.0]])
    assert X0Handling("clip", 3.0)(x0).tolist() == [[-3.0, 1.0, 2.0, 3.0]]
    low, high = torch.tensor([-1.0, 0.0, 0.0, 0.0]), torch.tensor([1.0, 0.5, 3.0, 9.0])
    assert X0Handling("range", low=low, high=high)(x0).tolist() == [[-1.0, 0.5, 2.0, 8.0]]
    s = float(x0.abs().quantile(0.5))  # 3
    torch.testing.assert_close(X0Handling("dynamic", 2.0, 0.5)(x0), torch.tensor([[-2.0, 2 / s, 4 / s, 2.0]]))


def test_a_handled_x0_keeps_x_t() -> None:
    """x_t = sqrt(abar) x0 + sqrt(1 - abar) eps holds for the changed x0."""
    x, t = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * 5, 60
    found = make_denoiser(lambda x, t: torch.zeros_like(x), SCHEDULE, "eps", X0Handling("clip", 1.0))(x, t)
    assert float(found.x0.abs().max()) == 1.0
    torch.testing.assert_close(add_noise(SCHEDULE, found.x0, found.eps, torch.full((3,), t)), x)


def test_starts() -> None:
    """x_T's variance is abar_T std^2 + 1 - abar_T, its mean sqrt(abar_T) mean; 5 standard errors."""
    schedule = make_schedule("linear", 20, 1e-3, 0.05)
    extent = LatentExtent(torch.full((4,), 2.0), torch.full((4,), 0.5), torch.zeros(4), torch.ones(4))
    forward, generator = Marginal(make_noise("laplace")), torch.Generator().manual_seed(0)
    x = start_draw("x_T", forward, schedule, extent)((N, 4), generator).double()
    abar = float(schedule.alphas_cumprod[20])
    assert float(x.mean()) == pytest.approx(2 * math.sqrt(abar), abs=5 / math.sqrt(4 * N))
    assert float(x.var()) == pytest.approx(0.25 * abar + 1 - abar, abs=5 * math.sqrt(5 / (4 * N)))
    own = start_draw("own", forward, schedule, extent)((5, 4), torch.Generator().manual_seed(1))
    assert torch.equal(own, make_noise("laplace").sample((5, 4), torch.Generator().manual_seed(1)))
    normal = start_draw("gaussian", forward, schedule, extent)((5, 4), torch.Generator().manual_seed(1))
    assert torch.equal(normal, torch.randn((5, 4), generator=torch.Generator().manual_seed(1)))
    four = step_draw("averaged:4", make_noise("exponential"))((N,), torch.Generator().manual_seed(1)).double()
    assert float((four**3).mean()) == pytest.approx(1.0, abs=0.2)


def test_an_images_start_does_not_depend_on_its_batch() -> None:
    draw = step_draw("own", make_noise("exponential"))

    def start(seeds: list[int]) -> Tensor:
        return start_per_image(draw, (2, 3), [torch.Generator().manual_seed(seed) for seed in seeds])

    assert torch.equal(start([4, 5, 6])[1], start([5])[0])


@pytest.mark.parametrize("choice", ["averaged:0", "averaged:", "d", "x_t", "averaged:-1"])
def test_bad_choices_of_noise_are_named(choice: str) -> None:
    extent = LatentExtent.standard((1,))
    with pytest.raises(InputError, match=r"start_noise: .* own, gaussian, averaged:<n>, x_T"):
        start_draw(choice, Marginal(make_noise("laplace")), SCHEDULE, extent)
    with pytest.raises(InputError, match=r"step_noise: .* own, gaussian, averaged:<n>"):
        step_draw(choice, make_noise("laplace"))


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


def test_karras_spacing_is_karras() -> None:
    """sigma^(1/7) falls evenly, up to the rounding to whole timesteps."""
    schedule = make_schedule("linear", 1000)
    t = torch.tensor(inference_timesteps(schedule, 10, "karras"))
    abar = schedule.alphas_cumprod[t]
    roots = ((1 - abar) / abar).sqrt() ** (1 / 7)
    assert float(roots.diff().diff().abs().max()) < 0.03


def test_unknown_spacing_lists_the_choices() -> None:
    with pytest.raises(InputError, match="timestep_spacing 'log'; choose one of: karras, linear, quadratic, trailing"):
        inference_timesteps(SCHEDULE, 5, "log")
