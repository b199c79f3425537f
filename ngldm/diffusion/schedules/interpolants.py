"""Schedules without betas: the coefficients of x_t = a x_0 + b n as functions of u = t / T, with their derivatives."""

from typing import NamedTuple

import torch
from torch import Tensor


class Coefficients(NamedTuple):
    """a, b and their derivatives by u at t = 0..T: (T + 1,) float64 each. At t = 0, a = 1 and b = 0."""

    signal: Tensor
    noise: Tensor
    signal_rate: Tensor
    noise_rate: Tensor


def rectified_flow(num_train_timesteps: int) -> Coefficients:
    """a = 1 - u, b = u (Liu et al. 2023; the conditional-OT path of Lipman et al. 2023)."""
    u = torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    return Coefficients(1.0 - u, u, torch.full_like(u, -1.0), torch.ones_like(u))


def variance_exploding(num_train_timesteps: int, sigma_min: float, sigma_max: float, rho: float) -> Coefficients:
    """a = 1, b = sigma, where sigma^(1/rho) is linear in t (Karras et al. 2022, eq. 5).

    It goes from sigma_min at t = 1 to sigma_max at T.
    t = 0 is the image itself: b_0 = 0, as in their list of levels. With T = 1 the only level is sigma_max.
    """
    total, low, high = num_train_timesteps, sigma_min ** (1.0 / rho), sigma_max ** (1.0 / rho)
    step = (high - low) / max(total - 1, 1)
    root = high - step * (total - torch.arange(total + 1, dtype=torch.float64))
    image = torch.arange(total + 1) == 0
    sigma = torch.where(image, 0.0, root.clamp(min=0.0) ** rho)
    rate = rho * root.clamp(min=0.0) ** (rho - 1.0) * step * total
    return Coefficients(torch.ones_like(sigma), sigma, torch.zeros_like(sigma), rate)


def scale_preserving(abar: Tensor, abar_rate: Tensor, alpha: float) -> Coefficients:
    """a^alpha = abar and b^alpha = 1 - abar, so that a^alpha + b^alpha = 1 (Shariatian et al. 2025, DLPM).

    If x_0 and n have the same stable law of index alpha, x_t has it too, with the same scale. alpha = 2 is the
    variance-preserving schedule.

    Args:
        abar: (T + 1,) of a variance-preserving schedule.
        abar_rate: its derivative by u.
        alpha: in (1, 2].
    """
    rest = 1.0 - abar
    tiny = torch.finfo(torch.float64).tiny  # where abar or 1 - abar is 0 the derivative by u is not finite
    power = 1.0 / alpha - 1.0
    signal_rate = abar.clamp(min=tiny) ** power * abar_rate / alpha
    noise_rate = -(rest.clamp(min=tiny) ** power) * abar_rate / alpha
    return Coefficients(abar ** (1.0 / alpha), rest ** (1.0 / alpha), signal_rate, noise_rate)
