"""Noise schedules: beta_t for t = 1..T and everything that follows from them, in float64.

Arrays have T + 1 entries and are indexed by t itself; entry 0 is the clean image: beta_0 = 0, abar_0 = 1. (DDPM
code, and diffusers, index from 0: their entry t - 1 is our entry t.)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.errors import InputError, unknown


def _constant(u: Tensor, start: float, end: float) -> Tensor:
    return torch.full_like(u, end)


def _linear(u: Tensor, start: float, end: float) -> Tensor:
    return start + (end - start) * u


def _quadratic(u: Tensor, start: float, end: float) -> Tensor:
    # The polynomial of degree 2 with those ends that latent diffusion calls "scaled linear".
    return (math.sqrt(start) + (math.sqrt(end) - math.sqrt(start)) * u) ** 2


POLYNOMIALS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "constant": _constant,
    "linear": _linear,
    "quadratic": _quadratic,
}
SCHEDULES = (*POLYNOMIALS, "cosine")


@dataclass(frozen=True)
class Schedule:
    """What a diffusion of T steps needs, float64, on the CPU, indexed by t in 0..T.

    Attributes:
        betas: (T + 1,) variance added by step t; betas[0] = 0.
        alphas: 1 - betas.
        alphas_cumprod: abar_t, the product of alphas up to t; decreasing from 1.
        sqrt_alphas_cumprod, sqrt_one_minus_alphas_cumprod: the signal's and the noise's coefficient in x_t.
    """

    betas: Tensor
    alphas: Tensor
    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor

    @property
    def num_train_timesteps(self) -> int:
        """T."""
        return len(self.betas) - 1

    @classmethod
    def from_betas(cls, betas: Tensor) -> "Schedule":
        """From beta_1..beta_T, (T,), each in (0, 1)."""
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise InputError("schedule: every beta_t must lie strictly between 0 and 1")
        betas = torch.cat([torch.zeros(1, dtype=torch.float64), betas.double()])
        abar = torch.cumprod(1.0 - betas, dim=0)
        if not (bool((abar.diff() < 0).all()) and float(abar[-1]) > 0):
            raise InputError(
                "schedule: beyond float64: abar_T underflows to 0 or a beta_t is too small to matter; "
                "use fewer steps, a smaller beta_end or a larger beta_start"
            )
        return cls(betas, 1.0 - betas, abar, abar.sqrt(), (1.0 - abar).sqrt())


def make_schedule(
    name: str = "linear", num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Schedule:
    """A schedule by name.

    Args:
        name: "constant" (beta_end throughout), "linear", "quadratic": polynomials in t from beta_start at t = 1 to
            beta_end at t = T (the paper; DDPM's linear). "cosine": Nichol and Dhariwal 2021, betas capped at
            0.999; beta_start and beta_end play no part.
        num_train_timesteps: T >= 1.
        beta_start, beta_end: in (0, 1).

    Raises:
        InputError: on an unknown name or a value out of range.
    """
    if num_train_timesteps < 1:
        raise InputError(f"schedule.num_train_timesteps: {num_train_timesteps} must be at least 1")
    if name in POLYNOMIALS:
        for key, value in (("beta_start", beta_start), ("beta_end", beta_end)):
            if not 0.0 < value < 1.0:
                raise InputError(f"schedule.{key}: {value} must lie strictly between 0 and 1")
        u = torch.linspace(0.0, 1.0, num_train_timesteps, dtype=torch.float64)
        return Schedule.from_betas(POLYNOMIALS[name](u, beta_start, beta_end))
    if name == "cosine":
        t = torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
        abar = torch.cos((t + 0.008) / 1.008 * math.pi / 2.0) ** 2
        return Schedule.from_betas((1.0 - abar[1:] / abar[:-1]).clamp(max=0.999))
    raise unknown("schedule", name, SCHEDULES)
