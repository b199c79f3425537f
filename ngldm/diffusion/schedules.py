"""Noise schedules: beta_t for t = 1..T and all values that follow from them, in float64.

Arrays have T + 1 entries, and t is the index. Entry 0 is the clean image: beta_0 = 0, abar_0 = 1. (The code of DDPM
and diffusers count from 0: their entry t - 1 is our entry t.)
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ngldm.diffusion.names import BETA_END, BETA_START, NUM_TRAIN_TIMESTEPS, SCHEDULES
from ngldm.io.errors import InputError, require_real, require_whole, unknown

LAPLACE_UNIFORM = 0.05  # share of the schedule "laplace" that is uniform in log-SNR


def _constant(u: Tensor, start: float, end: float) -> Tensor:
    return torch.full_like(u, end)


def _linear(u: Tensor, start: float, end: float) -> Tensor:
    return start + (end - start) * u


def _power(degree: int) -> Callable[[Tensor, float, float], Tensor]:
    # The polynomial from start to end whose root of this degree is linear in t. Latent diffusion calls degree 2
    # "scaled linear".
    def betas(u: Tensor, start: float, end: float) -> Tensor:
        first, last = start ** (1.0 / degree), end ** (1.0 / degree)
        curve: Tensor = (first + (last - first) * u) ** degree
        return curve

    return betas


POLYNOMIALS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "constant": _constant,
    "linear": _linear,
    "quadratic": _power(2),
    "cubic": _power(3),
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


@dataclass(frozen=True)
class Schedule:
    """The values of a diffusion with T steps: float64, on the CPU, indexed by t in 0..T.

    Attributes:
        betas: (T + 1,) variance that step t adds; betas[0] = 0.
        alphas: 1 - betas.
        alphas_cumprod: abar_t, the product of alphas up to t; decreasing from 1.
        signal, noise: the coefficients of the signal and of the noise in x_t.
    """

    betas: Tensor
    alphas: Tensor
    alphas_cumprod: Tensor
    signal: Tensor
    noise: Tensor
    _copies: dict[tuple[Hashable, torch.device, torch.dtype], Tensor] = field(
        default_factory=dict, repr=False, compare=False
    )

    def at(self, name: str, t: Tensor, like: Tensor) -> Tensor:
        """Values of an attribute at t, with the device and dtype of `like`, shaped to broadcast over it.

        The array is copied once for each device and dtype, so that a training step does not wait for a transfer.

        Args:
            name: e.g. "signal".
            t: (B,) integers in 0..T.
            like: (B, ...).
        """
        values = self.cached(name, lambda: getattr(self, name), like)
        return values[t.to(like.device)].reshape((-1,) + (1,) * (like.ndim - 1))

    def cached(self, key: Hashable, make: Callable[[], Tensor], like: Tensor) -> Tensor:
        """The result of `make`, with the device and dtype of `like`. It is made once for each key, device and dtype."""
        full = (key, like.device, like.dtype)
        if full not in self._copies:
            self._copies[full] = make().to(like.device, like.dtype)
        return self._copies[full]

    @property
    def num_train_timesteps(self) -> int:
        """T."""
        return len(self.betas) - 1

    @classmethod
    def from_betas(cls, betas: Tensor) -> "Schedule":
        """A schedule from its betas.

        Args:
            betas: (T,) beta_1..beta_T, each in (0, 1).

        Raises:
            InputError: a beta is out of range, or abar cannot be computed in float64.
        """
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise InputError("schedule: every beta_t must be strictly between 0 and 1")
        betas = torch.cat([torch.zeros(1, dtype=torch.float64), betas.double()])
        abar = torch.cumprod(1.0 - betas, dim=0)
        if not (bool((abar.diff() < 0).all()) and float(abar[-1]) > 0):
            raise InputError(
                "schedule: float64 is not precise enough: abar_T becomes 0, or a beta_t is too small to change abar_t; "
                "use fewer steps, a smaller beta_end or a larger beta_start"
            )
        return cls(betas, 1.0 - betas, abar, abar.sqrt(), (1.0 - abar).sqrt())

    def with_zero_terminal_snr(self) -> "Schedule":
        """Shift and scale sqrt(abar_t) so that abar_T = 0 and abar_1 is unchanged (Lin et al. 2024, algorithm 1).

        Raises:
            InputError: T is 1.
        """
        if self.num_train_timesteps == 1:
            raise InputError("schedule.zero_terminal_snr: num_train_timesteps must be at least 2")
        root = self.signal[1:]
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        abar = torch.cat([torch.ones(1, dtype=torch.float64), root.square()])
        alphas = torch.cat([torch.ones(1, dtype=torch.float64), abar[1:] / abar[:-1]])
        return Schedule(1.0 - alphas, alphas, abar, abar.sqrt(), (1.0 - abar).sqrt())


def make_schedule(
    name: str = "linear",
    num_train_timesteps: int = NUM_TRAIN_TIMESTEPS,
    beta_start: float = BETA_START,
    beta_end: float = BETA_END,
    zero_terminal_snr: bool = False,
    degree: int = 1,
) -> Schedule:
    """A schedule by name.

    Args:
        name: "constant" is beta_end at every t. "linear", "quadratic", "cubic" and "polynomial" (with `degree`) are
            polynomials in t from beta_start at t = 1 to beta_end at t = T (the paper; "linear" is DDPM's).
            "cosine" (Nichol and Dhariwal 2021), "sigmoid" (Jabri et al. 2023), "laplace" (Hang et al. 2024, with 5 % of
            the levels spread evenly over log-SNR from -10 to 10) and "edm" (Karras et al. 2022, eq. 5 at t / T) are
            defined by abar_t: they ignore beta_start and beta_end, and betas are at most 0.999.
        num_train_timesteps: T >= 1.
        beta_start, beta_end: in (0, 1).
        degree: >= 0, for "polynomial" only: 0 is "constant", 1 "linear", 2 "quadratic", 3 "cubic".
        zero_terminal_snr: rescale so that x_T is pure noise: abar_T = 0.

    Raises:
        InputError: on an unknown name or a value out of range.
    """
    num_train_timesteps = require_whole("schedule.num_train_timesteps", num_train_timesteps, 1)
    degree = require_whole("schedule.degree", degree, 0)
    if name in POLYNOMIALS or name == "polynomial":
        for key, value in (("beta_start", beta_start), ("beta_end", beta_end)):
            if not 0.0 < require_real(f"schedule.{key}", value) < 1.0:
                raise InputError(f"schedule.{key}: {value} must be strictly between 0 and 1")
        u = torch.linspace(0.0, 1.0, num_train_timesteps, dtype=torch.float64)
        betas = POLYNOMIALS[name] if name in POLYNOMIALS else _power(degree) if degree else _constant
        schedule = Schedule.from_betas(betas(u, beta_start, beta_end))
    elif name in CURVES:
        abar = CURVES[name](torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps)
        schedule = Schedule.from_betas((1.0 - abar[1:] / abar[:-1]).clamp(max=0.999))
    else:
        raise unknown("schedule", name, SCHEDULES)
    return schedule.with_zero_terminal_snr() if zero_terminal_snr else schedule
