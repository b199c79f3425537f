"""The curves of the variance-preserving schedules: beta_t as a polynomial in t, or abar as a function of t / T."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

LAPLACE_UNIFORM = 0.05  # share of the schedule "laplace" that is uniform in log-SNR


def constant(u: Tensor, start: float, end: float) -> Tensor:
    return torch.full_like(u, end)


def _linear(u: Tensor, start: float, end: float) -> Tensor:
    return start + (end - start) * u


def power(degree: int) -> Callable[[Tensor, float, float], Tensor]:
    # The polynomial from start to end whose root of this degree is linear in t. Latent diffusion calls degree 2
    # "scaled linear".
    def betas(u: Tensor, start: float, end: float) -> Tensor:
        first, last = start ** (1.0 / degree), end ** (1.0 / degree)
        curve: Tensor = (first + (last - first) * u) ** degree
        return curve

    return betas


POLYNOMIALS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "constant": constant,
    "linear": _linear,
    "quadratic": power(2),
    "cubic": power(3),
}


def _cosine(u: Tensor) -> Tensor:
    alphas_cumprod: Tensor = torch.cos((u + 0.008) / 1.008 * math.pi / 2.0) ** 2
    return alphas_cumprod


def _sigmoid(u: Tensor) -> Tensor:
    # Jabri et al. 2023 with start -3, end 3, tau 1.
    low, high = torch.sigmoid(torch.tensor([-3.0, 3.0], dtype=torch.float64))
    alphas_cumprod: Tensor = (high - torch.sigmoid(6.0 * u - 3.0)) / (high - low)
    return alphas_cumprod


def _laplace(u: Tensor) -> Tensor:
    # Hang et al. 2024: log-SNR has a Laplace distribution with location 0 and scale 1/2. Here it is cut at +-10. They
    # train on noise levels from this distribution and sample on another schedule. Our sampler uses the T levels of
    # training. With the Laplace distribution alone, only one level in 1000 has a log-SNR above 3.1 (noise with a
    # deviation of 0.207), and only one has a log-SNR below -3.1. The last step to the image would then skip all finer
    # detail. So a share of the distribution is uniform: for T = 1000, the log-SNR of neighbours differs by at most 0.4.
    log_snr = torch.linspace(-10.0, 10.0, 2**14 + 1, dtype=torch.float64)
    tail = 0.5 * (-2.0 * log_snr.abs()).exp()
    law = torch.where(log_snr < 0.0, tail, 1.0 - tail)
    law = (law - law[0]) / (law[-1] - law[0])
    law = (1.0 - LAPLACE_UNIFORM) * law + LAPLACE_UNIFORM * (log_snr + 10.0) / 20.0
    quantile = np.interp((1.0 - u).numpy(), law.numpy(), log_snr.numpy())
    return torch.where(u > 0.0, torch.sigmoid(torch.from_numpy(quantile)), 1.0)


def _edm(u: Tensor) -> Tensor:
    # Karras et al. 2022, eq. 5: sigma from 0.002 to 80, rho 7, in the variance-preserving form. u = t / T. t = 0 is the
    # image itself, so sigma = 0.002 (u = 0) is not used. The smallest sigma is sigma_1, at u = 1 / T.
    low, high = 0.002 ** (1.0 / 7.0), 80.0 ** (1.0 / 7.0)
    sigma = (low + (high - low) * u) ** 7
    alphas_cumprod: Tensor = torch.where(u > 0.0, 1.0 / (1.0 + sigma**2), 1.0)
    return alphas_cumprod


CURVES: dict[str, Callable[[Tensor], Tensor]] = {  # abar as a function of t / T, up to a constant factor
    "cosine": _cosine,
    "sigmoid": _sigmoid,
    "laplace": _laplace,
    "edm": _edm,
}
