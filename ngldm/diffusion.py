"""The forward process and the training objective (Algorithm 1), the same for every noise distribution.

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, with one draw eps of D per x_t.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.noise import Noise
from ngldm.schedules import Schedule


def _coefficients(schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(abar_t) and sqrt(1 - abar_t), shaped to broadcast over `like` (B, ...)."""
    shape = (-1,) + (1,) * (like.ndim - 1)
    index = t.cpu()
    signal, noise = (
        values[index].to(like.device, like.dtype).reshape(shape)
        for values in (schedule.sqrt_alphas_cumprod, schedule.sqrt_one_minus_alphas_cumprod)
    )
    return signal, noise


def add_noise(schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """The forward marginal x_t.

    Args:
        x0, eps: (B, ...) clean latents and noise of mean 0 and variance 1.
        t: (B,) integers in 0..T.
    """
    signal, noise = _coefficients(schedule, t, x0)
    return signal * x0 + noise * eps


def predict_x0(schedule: Schedule, x_t: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """x_0 from x_t and eps: the inverse of `add_noise`. t in 0..T; where abar_t is tiny, errors of eps grow."""
    signal, noise = _coefficients(schedule, t, x_t)
    return (x_t - noise * eps) / signal


def predict_eps(schedule: Schedule, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """eps from x_t and x_0. t in 1..T (at t = 0 there is no noise to recover)."""
    signal, noise = _coefficients(schedule, t, x_t)
    return (x_t - signal * x0) / noise


def eps_loss(
    model: nn.Module, schedule: Schedule, noise: Noise, x0: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Algorithm 1's loss of a batch: MSE(eps, eps_theta(x_t, t)), t uniform on 1..T, eps from D.

    Args:
        model: eps_theta(x_t, t).
        x0: (B, c, h, w) standardised latents.
        generator: on the CPU; t and eps follow from its state alone, whatever x0's device.

    Returns:
        (B,) loss per image, float32.
    """
    t = torch.randint(1, schedule.num_train_timesteps + 1, (len(x0),), generator=generator)
    eps = noise.sample(x0.shape, generator).to(x0.device)
    prediction = model(add_noise(schedule, x0, eps, t), t.to(x0.device))
    return F.mse_loss(prediction.float(), eps, reduction="none").flatten(1).mean(1)
