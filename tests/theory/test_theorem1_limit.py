"""The limit of the mean's ratio along the chain, where it is known by other means: docs/theorem-1.md."""

import math

import pytest
import torch
from scipy import integrate, stats

from ngldm.diffusion.schedules import make_schedule
from ngldm.noise import make_noise
from ngldm.theory.theorem1 import final_latents, theorem1_ratio

# With beta_T = 3/4 the limit of eps_T is sum_j sqrt(3)/2 2^-j z_j. For random signs z_j, the sum of 2^-j z_j is uniform
# on [-2, 2] (a random binary expansion): eps is uniform on [-sqrt(3), sqrt(3)], for Gaussian z_j Gaussian.
N, END = 100_000, 0.75


def mean_distance(law: stats.rv_continuous, x0: float) -> float:
    """E|x_0 - eps| by quadrature."""
    low, high = law.ppf(1e-14), law.ppf(1.0 - 1e-14)
    return float(integrate.quad(lambda y: abs(x0 - y) * law.pdf(y), low, high, points=[x0])[0])


@pytest.mark.parametrize("x0", [0.0, 1.0])
@pytest.mark.parametrize(("name", "steps"), [("constant", 40), ("linear", 400), ("cubic", 400)])
def test_signs_tend_to_the_uniform_law_and_the_ratio_to_its_own(name: str, steps: int, x0: float) -> None:
    """1.0854 for x_0 = 0, 0.990 for 1, whatever the polynomial's degree: 5 standard errors, 2 / T for finite T."""
    uniform = stats.uniform(-math.sqrt(3.0), 2.0 * math.sqrt(3.0))
    limit = mean_distance(uniform, x0) / mean_distance(stats.norm(), x0)
    if x0 == 0.0:
        assert limit == pytest.approx(math.sqrt(3.0) / 2.0 / math.sqrt(2.0 / math.pi), rel=1e-9)  # 1.0854
    schedule = make_schedule(name, steps, beta_start=1e-3, beta_end=END)
    found = theorem1_ratio(torch.full((N, 1), x0), make_noise("bernoulli"), schedule, "markov")
    assert found.mean == pytest.approx(limit, abs=5.0 * found.std_error + (0.0 if name == "constant" else 2.0 / steps))
    assert found.rms == pytest.approx(1.0, abs=5.0 * found.rms_std_error)


def test_signs_tend_to_the_uniform_law() -> None:
    """Kolmogorov of x_T itself: 2 / sqrt(n)."""
    schedule = make_schedule("constant", 40, beta_end=END)
    x = final_latents(torch.zeros(N, 1), make_noise("bernoulli"), schedule, "markov", torch.Generator().manual_seed(1))
    uniform = stats.uniform(-math.sqrt(3.0), 2.0 * math.sqrt(3.0))
    assert stats.kstest(x[:, 0].numpy(), uniform.cdf).statistic < 2.0 / math.sqrt(N)


def test_two_chains_need_not_be_polynomials_of_the_same_degree() -> None:
    """Numerator by linear betas, denominator by cubic ones with the same end: the same limit."""
    x0 = torch.zeros(N, 1)
    distance = []
    for seed, (noise, name) in enumerate((("bernoulli", "linear"), ("gaussian", "cubic"))):
        schedule = make_schedule(name, 400, beta_start=1e-3, beta_end=END)
        moved = final_latents(x0, make_noise(noise), schedule, "markov", torch.Generator().manual_seed(seed))
        distance.append(moved.abs().mean())
    limit = math.sqrt(3.0) / 2.0 / math.sqrt(2.0 / math.pi)
    assert float(distance[0] / distance[1]) == pytest.approx(limit, abs=5.0 * limit * 0.9 / math.sqrt(N) + 2.0 / 400)
