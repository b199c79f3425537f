"""Theorem 1's ratio: against closed forms, and for every registered noise."""

import math

import pytest
import torch

from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import Noise, make_noise, noise_names
from ngldm.theory.theorem1 import final_latents, kurtosis_left, theorem1_ratio

IID = [name for name in noise_names() if isinstance(make_noise(name), Noise)]
STANDARD = [name for name in IID if name != "exponential_uncentred"]


def test_ratio_in_one_dimension_is_the_closed_form() -> None:
    # With x_0 = 0: E|D| is 1 / sqrt(2) for laplace, sqrt(3) / 2 for uniform, sqrt(2 / pi) for the Gaussian.
    x0, schedule = torch.zeros(200_000, 1), make_schedule("linear")
    for name, mean in (("laplace", math.sqrt(0.5)), ("uniform", math.sqrt(3.0) / 2.0)):
        ratio = theorem1_ratio(x0, make_noise(name), schedule, "marginal")
        assert abs(ratio.mean - mean / math.sqrt(2.0 / math.pi)) < 5.0 * ratio.std_error
        assert ratio.std_error < 0.01


def test_chain_has_the_kurtosis_that_its_weights_leave() -> None:
    schedule = make_schedule("constant", num_train_timesteps=20, beta_end=0.3)
    left = kurtosis_left(schedule)
    x = final_latents(
        torch.zeros(400_000, 1), make_noise("laplace"), schedule, "markov", torch.Generator().manual_seed(0)
    )
    noise = x / schedule.sqrt_one_minus_alphas_cumprod[-1]
    fourth = noise**4
    error = float(fourth.std()) / len(fourth) ** 0.5
    assert abs(float(fourth.mean()) - 3.0 - 3.0 * left) < 5.0 * error
    # Geometric weights, of q = 1 - beta: (1 - q)^2 (1 - q^2T) / (1 - q^2) / (1 - q^T)^2.
    q, steps = 0.7, 20
    assert left == pytest.approx((1 - q) ** 2 * (1 - q ** (2 * steps)) / (1 - q**2) / (1 - q**steps) ** 2)


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("forward", ["marginal", "markov"])
def test_ratio_tends_to_1_for_every_noise(name: str, forward: str) -> None:
    # E||v|| = sqrt(d) (1 - (kurtosis + 2) / (8 d) + ...): what keeps the ratio from 1 shrinks with the dimension, and
    # along the chain with the share of the kurtosis that is left. Noise of kurtosis k has squares of variance k + 2.
    noise, dim = make_noise(name), 1024
    schedule = make_schedule("linear", num_train_timesteps=100, beta_end=0.2)
    ratio = theorem1_ratio(torch.zeros(96, dim), noise, schedule, forward)
    kurtosis = noise.excess_kurtosis if math.isfinite(noise.excess_kurtosis) else 30.0
    left = kurtosis_left(schedule) if forward == "markov" else 1.0
    assert abs(ratio.mean - 1.0) < 5.0 * ratio.std_error + 2.0 * abs(kurtosis) * left / (8 * dim) + 1e-3
    assert abs(ratio.rms - 1.0) < 5.0 * ratio.rms_std_error + 1e-4
    assert ratio.std_error < 0.05


def test_uncentred_noise_breaks_the_premise() -> None:
    schedule = make_schedule("linear", num_train_timesteps=200, beta_end=0.05)
    ratio = theorem1_ratio(torch.zeros(128, 64), make_noise("exponential_uncentred"), schedule, "markov")
    assert ratio.mean > 2.0  # its mean adds up along the chain


def test_bad_input() -> None:
    schedule = make_schedule("linear", num_train_timesteps=2)
    with pytest.raises(InputError, match="at least 2"):
        theorem1_ratio(torch.zeros(1, 4), make_noise("laplace"), schedule, "marginal")
    with pytest.raises(InputError, match="sideways"):
        theorem1_ratio(torch.zeros(2, 4), make_noise("laplace"), schedule, "sideways")


@pytest.mark.parametrize(
    ("name", "limit"),
    [("multivariate_laplace", math.gamma(1.5)), ("multivariate_t", math.sqrt(1.5) * math.gamma(2.0) / math.gamma(2.5))],
)
def test_with_a_shared_scale_the_ratio_of_one_draw_tends_to_the_mean_scale(name: str, limit: float) -> None:
    """E sqrt(A) < 1: of Exp(1), and of 3 / chi^2_5. A long chain sums many scales, and its ratio tends to 1."""
    schedule = make_schedule("linear", num_train_timesteps=400, beta_end=0.05)
    ratio = theorem1_ratio(torch.zeros(2000, 1024), make_noise(name), schedule, "marginal")
    assert abs(ratio.mean - limit) < 5.0 * ratio.std_error + 1e-3
    assert abs(ratio.rms - 1.0) < 5.0 * ratio.rms_std_error + 1e-4


def test_infinite_variance_has_no_ratio_of_mean_squares() -> None:
    schedule = make_schedule("linear", num_train_timesteps=5)
    ratio = theorem1_ratio(torch.zeros(50, 4), make_noise("isotropic_stable"), schedule, "marginal")
    assert math.isnan(ratio.rms)
    assert math.isfinite(ratio.mean)
