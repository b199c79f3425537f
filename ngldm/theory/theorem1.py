"""Theorem 1, measured: the distance from x_0 to x_T under a noise D, divided by the distance under the Gaussian.

The theorem says that lim_{T -> inf} E_D||x_0 - x_T|| / E_N||x_0 - x_T|| exists. Here D is standardised, so the ratio of
the mean squares is exactly 1 at every T. docs/theorem-1.md says what follows for the ratio of the means.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.diffusion.names import FORWARDS
from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError, unknown
from ngldm.noise import Law, make_noise


@dataclass(frozen=True)
class Ratio:
    """E_D||x_0 - x_T|| / E_N||x_0 - x_T||, estimated from draws.

    Attributes:
        mean: the ratio of mean Euclidean distances.
        std_error: its standard error.
        rms: the ratio of root mean square distances. Its exact value is 1. nan for a law of infinite variance.
        rms_std_error: its standard error. It is meaningful only if D has a fourth moment.
    """

    mean: float
    std_error: float
    rms: float
    rms_std_error: float


def final_latents(x0: Tensor, noise: Law, schedule: Schedule, forward: str, generator: torch.Generator) -> Tensor:
    """x_T, by one draw of D (`marginal`) or by all T steps of the paper's equation 1 (`markov`).

    Args:
        x0: (N, ...) clean latents on the CPU.
        noise: D.
        schedule: has T timesteps.
        forward: "marginal" or "markov".
        generator: on the CPU.

    Returns:
        float64, the shape of x0.

    Raises:
        InputError: on an unknown forward process.
    """
    x0 = x0.double()
    if forward == "marginal":
        eps = noise.sample(x0.shape, generator, dtype=torch.float64)
        return schedule.sqrt_alphas_cumprod[-1] * x0 + schedule.sqrt_one_minus_alphas_cumprod[-1] * eps
    if forward == "markov":
        x = x0
        for beta in schedule.betas[1:]:
            x = (1.0 - beta).sqrt() * x + beta.sqrt() * noise.sample(x.shape, generator, dtype=torch.float64)
        return x
    raise unknown("diffusion.forward", forward, FORWARDS)


def theorem1_ratio(x0: Tensor, noise: Law, schedule: Schedule, forward: str, seed: int = 0) -> Ratio:
    """The theorem's ratio for the latents x0.

    Args:
        x0: (N, ...) with N >= 2. For each latent, x_T is drawn once with D and once with Gaussian noise.
        noise: D.
        schedule: has T timesteps.
        forward: "marginal" or "markov".
        seed: of the draws. The two noises have different streams.

    Raises:
        InputError: fewer than two latents, or an unknown forward process.
    """
    if len(x0) < 2:
        raise InputError(f"theorem1: {len(x0)} latents; a standard error needs at least 2")
    squares = []
    for stream, who in enumerate((noise, make_noise("gaussian"))):
        generator = torch.Generator().manual_seed(2 * seed + stream)
        moved = final_latents(x0, who, schedule, forward, generator) - x0.double()
        squares.append(moved.flatten(1).square().sum(1))
    mean, error = _ratio(squares[0].sqrt(), squares[1].sqrt())
    square, square_error = _ratio(squares[0], squares[1])
    rms = square**0.5 if math.isfinite(noise.second_moment) else math.nan
    return Ratio(mean, error, rms, square_error / (2.0 * rms))


def _ratio(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Ratio of the means of two independent samples, and its standard error to first order."""
    ratio = float(x.mean() / y.mean())
    relative = (x.var() / len(x)) / x.mean() ** 2 + (y.var() / len(y)) / y.mean() ** 2
    return ratio, abs(ratio) * float(relative) ** 0.5


def kurtosis_left(schedule: Schedule) -> float:
    """Fraction of D's excess kurtosis that the noise of x_T still has after the chain: the sum over t of w_t^2.

    w_t = beta_t alpha_(t+1) ... alpha_T / (1 - abar_T) is the fraction of x_T's noise variance that comes from step t.
    A result of 1 means the noise is D itself, 0 means it is Gaussian. For a long linear schedule the result is about
    beta_T / 2, whatever T is. With zero terminal SNR, beta_T = 1: the last step replaces all before it, and what is
    left is D itself.
    """
    after = torch.cat([schedule.alphas[2:], torch.ones(1, dtype=torch.float64)]).flip(0).cumprod(0).flip(0)
    share = schedule.betas[1:] * after / (1.0 - schedule.alphas_cumprod[-1])
    return float(share.square().sum())
