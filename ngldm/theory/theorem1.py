"""Theorem 1, measured: how far the forward process carries x_0 under a noise D, relative to the Gaussian.

The theorem says that lim_{T -> inf} E_D||x_0 - x_T|| / E_N||x_0 - x_T|| exists. Standardising D makes the ratio of the
mean squares exactly 1 at every T; docs/theorem-1.md says what that leaves of the ratio of the means.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.diffusion.names import FORWARDS
from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError, unknown
from ngldm.noise import Noise, make_noise


@dataclass(frozen=True)
class Ratio:
    """E_D||x_0 - x_T|| / E_N||x_0 - x_T||, by Monte Carlo.

    Attributes:
        mean: the ratio of mean Euclidean distances.
        std_error: its standard error.
        rms: the ratio of root mean squares, which standardising makes 1.
        rms_std_error: its standard error, where D has a fourth moment.
    """

    mean: float
    std_error: float
    rms: float
    rms_std_error: float


def final_latents(x0: Tensor, noise: Noise, schedule: Schedule, forward: str, generator: torch.Generator) -> Tensor:
    """x_T, by one draw of D (`marginal`) or by all T steps of the paper's equation 1 (`markov`).

    Args:
        x0: (N, ...) clean latents on the CPU.
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


def theorem1_ratio(x0: Tensor, noise: Noise, schedule: Schedule, forward: str, seed: int = 0) -> Ratio:
    """The theorem's ratio for the latents x0.

    Args:
        x0: (N, ...) with N >= 2; each latent is carried to x_T once under either noise.
        seed: of the draws; the two noises have streams of their own.

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
    rms = square**0.5
    return Ratio(mean, error, rms, square_error / (2.0 * rms))


def _ratio(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Ratio of the means of two independent samples, and its standard error to first order."""
    ratio = float(x.mean() / y.mean())
    relative = (x.var() / len(x)) / x.mean() ** 2 + (y.var() / len(y)) / y.mean() ** 2
    return ratio, abs(ratio) * float(relative) ** 0.5


def kurtosis_left(schedule: Schedule) -> float:
    """Share of D's excess kurtosis that the noise of x_T still has after the chain: sum over t of w_t^2.

    w_t = beta_t abar_T / abar_t / (1 - abar_T) is the share of x_T's noise variance that step t brought in. 1 means D
    itself, 0 a Gaussian; about beta_T / 2 for a long linear schedule, whatever T is.
    """
    abar = schedule.alphas_cumprod
    share = schedule.betas[1:] * abar[-1] / abar[1:] / (1.0 - abar[-1])
    return float(share.square().sum())
