"""Both forward processes: which noise x_t carries."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from ngldm.diffusion.forward import Marginal, Markov, make_forward
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import make_noise

SCHEDULE = make_schedule("linear", 100, 1e-3, 0.2)
N = 2**15


def chain(name: str, t: int, size: int) -> Tensor:
    """eps of x_t by simulating equation (1) step by step, independently of the table."""
    noise, generator = make_noise(name), torch.Generator().manual_seed(7)
    y = torch.zeros(size, dtype=torch.float64)
    for beta in SCHEDULE.betas[1 : t + 1].tolist():
        y = math.sqrt(1 - beta) * y + math.sqrt(beta) * noise.sample((size,), generator, dtype=torch.float64)
    return y / math.sqrt(1 - float(SCHEDULE.alphas_cumprod[t]))


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


def test_markov_is_refused_for_a_law_of_whole_images() -> None:
    with pytest.raises(InputError, match=r"'markov' .* the elements of the noise 'multivariate_t' are not independent"):
        make_forward("markov", make_noise("multivariate_t"), SCHEDULE)


def test_annealed_noise_takes_its_weight_from_the_schedule() -> None:
    """White at small t, offset noise at T: the power at frequency 0, by the mean of an image; 5 standard errors."""
    law = make_noise("annealed", {"first": {"distribution": "offset", "strength": 2.0}, "centre": 0.5, "width": 1.5})
    forward = make_forward("marginal", law, SCHEDULE)
    for t in (1, 40, 100):
        x = forward.sample((N, 1, 4, 3), torch.full((N,), t), torch.Generator().manual_seed(0))
        abar = float(SCHEDULE.alphas_cumprod[t])
        w = 1 / (1 + math.exp(-(0.5 * math.log(abar / (1 - abar)) - 0.5) / 1.5))
        squares = 12 * x.mean((1, 2, 3)).double().square()
        expected = w + (1 - w) * (1 + 4 * 12) / 5  # (1 + s^2 h w) / (1 + s^2) for offset noise
        assert float(squares.mean()) == pytest.approx(expected, abs=5 * math.sqrt(2 / N) * expected)
