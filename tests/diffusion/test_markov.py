"""The noise of the Markov chain for every schedule: its cumulants in closed form, and D's own quantiles at t = 1."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from ngldm.diffusion.forward import Markov
from ngldm.diffusion.names import VARIANCE_PRESERVING
from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.noise import make_noise

N = 2**17
# What the table's 65536 chains add to the error of N draws from it.
CHAINS = math.sqrt(1.0 + N / 2**16)
ALL = [(name, zero) for name in VARIANCE_PRESERVING for zero in (False, True)]


def weights(schedule: Schedule, t: int) -> NDArray[np.float64]:
    """Of the t draws in eps of x_t, multiplied out: sqrt(beta_i alpha_(i+1) ... alpha_t / (1 - abar_t))."""
    alphas = schedule.alphas[1 : t + 1].numpy()
    after = np.append(np.cumprod(alphas[:0:-1])[::-1], 1.0)
    squares = (1.0 - alphas) * after
    return np.sqrt(squares / squares.sum())


def draw(forward: Markov, t: int, seed: int = 1) -> Tensor:
    return forward.sample((N,), torch.full((N,), t), torch.Generator().manual_seed(seed)).double()


def spread(moment: Tensor) -> float:
    return CHAINS * float(moment.std()) / math.sqrt(N)


@pytest.mark.parametrize(("name", "zero"), ALL)
def test_skewness_and_kurtosis_follow_the_weights(name: str, zero: bool) -> None:
    """2 sum w^3 and 6 sum w^4 for the exponential, at few steps, in between, and where the last steps take over.

    6 standard errors; for the kurtosis 0.05 more, since large fourth powers are too rare to show in their spread.
    """
    schedule = make_schedule(name, 1000, zero_terminal_snr=zero, degree=5)
    forward = Markov(make_noise("exponential"), schedule)
    for t in (1, 2, 7, 17, 23, 60, 300, 700, 950, 980, 990, 996, 999, 1000):
        x, w = draw(forward, t), weights(schedule, t)
        assert float(x.mean()) == pytest.approx(0.0, abs=6.0 / math.sqrt(N))
        assert float(x.square().mean()) == pytest.approx(1.0, abs=6.0 * math.sqrt(8.0 / N))
        assert float((x**3).mean()) == pytest.approx(2.0 * (w**3).sum(), abs=6.0 * spread(x**3))
        assert float((x**4).mean()) - 3.0 == pytest.approx(6.0 * (w**4).sum(), abs=6.0 * spread(x**4) + 0.05)


def test_near_T_the_cosine_chain_is_not_yet_a_single_draw() -> None:
    """Against a simulation of the chain itself: t = 990 of 1000, where one step more or less changes little no more."""
    schedule, generator = make_schedule("cosine", 1000), torch.Generator().manual_seed(3)
    noise, size = make_noise("exponential"), 2**14
    chain = torch.zeros(size, dtype=torch.float64)
    for beta in schedule.betas[1:991].tolist():
        z = noise.sample((size,), generator, dtype=torch.float64)
        chain = math.sqrt(1.0 - beta) * chain + math.sqrt(beta) * z
    chain /= float(schedule.noise[990])
    x = draw(Markov(noise, schedule), 990)
    assert stats.ks_2samp(x.numpy(), chain.numpy()).statistic < 2.0 / math.sqrt(size) + 0.005
    assert float((x**3).mean()) == pytest.approx(0.51, abs=0.05)


LAWS = {  # scipy's, brought to mean 0 and variance 1 by the moments that scipy declares
    "student_t": ({"df": 2.1}, stats.t(2.1)),
    "lognormal": ({"sigma": 3.0}, stats.lognorm(3.0)),
    "laplace": ({}, stats.laplace()),
    "gumbel": ({}, stats.gumbel_r()),
    "gamma": ({"concentration": 0.3}, stats.gamma(0.3)),
    "weibull": ({"k": 0.5}, stats.weibull_min(0.5)),
    "generalized_normal": ({"beta": 0.3}, stats.gennorm(0.3)),
    "skew_normal": ({"alpha": 4.0}, stats.skewnorm(4.0)),
    "uniform": ({}, stats.uniform()),
}


@pytest.mark.parametrize("name", LAWS)
def test_one_step_brings_exactly_one_draw_of_D(name: str) -> None:
    """Kolmogorov against scipy: 2 / sqrt(n) of the draws, 1 / sqrt(10^6) x 3 of the quantiles that they come from."""
    params, law = LAWS[name]
    x = draw(Markov(make_noise(name, params), make_schedule("linear", 20)), 1).numpy() * law.std() + law.mean()
    assert stats.kstest(x, law.cdf).statistic < 2.0 / math.sqrt(N) + 0.003


@pytest.mark.parametrize("zero", [False, True])
def test_one_step_that_replaces_all_before_brings_one_draw_of_D_again(zero: bool) -> None:
    """abar_T = 0: beta_T = 1, x_T is z_T. Cosine without it: beta_T = 0.999, nearly."""
    schedule = make_schedule("cosine", 1000, zero_terminal_snr=zero)
    x = draw(Markov(make_noise("student_t", {"df": 2.1}), schedule), 1000).numpy() * stats.t(2.1).std()
    assert stats.kstest(x, stats.t(2.1).cdf).statistic < 2.0 / math.sqrt(N) + (0.003 if zero else 0.02)


@pytest.mark.parametrize(("name", "zero"), [("linear", False), ("cosine", False), ("sigmoid", True)])
def test_a_mean_adds_up_along_the_chain_at_every_t(name: str, zero: bool) -> None:
    """Sum of the weights, for mean 1 and variance 1: 6 standard errors."""
    schedule = make_schedule(name, 1000, zero_terminal_snr=zero)
    forward = Markov(make_noise("exponential_uncentred"), schedule)
    for t in (1, 9, 40, 333, 930, 990, 1000):
        x = draw(forward, t)
        assert float(x.mean()) == pytest.approx(weights(schedule, t).sum(), abs=6.0 / math.sqrt(N))
        assert float(x.var()) == pytest.approx(1.0, abs=6.0 * math.sqrt(8.0 / N))


def test_bernoulli_keeps_its_atoms_for_few_steps() -> None:
    """After two steps of equal weight: -sqrt(2), 0, sqrt(2), with probabilities 1/4, 1/2, 1/4."""
    schedule = Schedule.from_betas(torch.tensor([1.0 / 3.0, 0.25, 0.1, 0.1], dtype=torch.float64))
    assert weights(schedule, 2) == pytest.approx([math.sqrt(0.5)] * 2)
    x = draw(Markov(make_noise("bernoulli"), schedule), 2)
    values, counts = (x * 20.0).round().unique(return_counts=True)
    assert values.tolist() == [-28.0, 0.0, 28.0]
    assert (counts / N).tolist() == pytest.approx([0.25, 0.5, 0.25], abs=6.0 * CHAINS * 0.5 / math.sqrt(N))
