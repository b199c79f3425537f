"""Which timesteps a sampler visits when it makes fewer steps than T, and the steps between them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError, unknown
from ngldm.sampling.names import SPACINGS

# Karras et al. 2022, table 1
KARRAS_RHO = 7.0
KARRAS_SIGMA_MIN, KARRAS_SIGMA_MAX = 0.002, 80.0


@dataclass(frozen=True)
class Step:
    """The state that a callback receives before each step.

    Attributes:
        index: 0 .. len(timesteps) - 1.
        t, t_next: the step goes from t down to t_next (0 for the last step).
        x: (B, ...) x_t.
        x0: (B, ...) the prediction of x_0 from x_t.
    """

    index: int
    t: int
    t_next: int
    x: Tensor
    x0: Tensor


Callback = Callable[[Step], object]


def steps(timesteps: list[int]) -> Iterator[tuple[int, int, int]]:
    """(index, t, t_next) of each step."""
    for index, (t, s) in enumerate(zip(timesteps, [*timesteps[1:], 0], strict=True)):
        yield index, t, s


def signal_and_noise(schedule: Schedule, t: int) -> tuple[float, float]:
    """a_t and b_t."""
    return float(schedule.signal[t]), float(schedule.noise[t])


def noise_levels(schedule: Schedule, timesteps: Sequence[int]) -> list[float]:
    """The share of noise in x_t at these timesteps, then 0 for the result: b_t / sqrt(a_t^2 + b_t^2), in [0, 1]."""
    pairs = (signal_and_noise(schedule, t) for t in timesteps)
    return [*(b / math.hypot(a, b) for a, b in pairs), 0.0]


def spaced_by_level(levels: Sequence[float], count: int) -> list[int]:
    """Which of the states of a sampler to show, so that their levels of noise are as evenly spaced as they can be.

    Evenly spaced steps would not do: many schedules spend most steps where x_t is nearly pure noise, or nearly done.

    Args:
        levels: of all states, from pure noise to the result (`noise_levels`).
        count: how many to show, at least 2; no more than there are.

    Returns:
        `count` numbers from 0, ascending, each once: the first is 0, the last that of the result.
    """
    last, count = len(levels) - 1, min(count, len(levels))
    chosen = [0]
    for k in range(1, count):
        wanted = levels[0] * (1.0 - k / (count - 1))
        free = range(chosen[-1] + 1, last - (count - 1 - k) + 1)  # enough are left for those that follow
        chosen.append(min(free, key=lambda i: abs(levels[i] - wanted)))
    chosen[-1] = last
    return chosen


def inference_timesteps(
    schedule: Schedule, num_inference_steps: int, spacing: str = "trailing", sigma_max: float | None = None
) -> list[int]:
    """The timesteps of a sampler, strictly descending from T. The last step goes from the last timestep to t = 0.

    Every spacing starts at T, because x_T is the noise that sampling starts from (Lin et al. 2024).

    Args:
        num_inference_steps: n, from 1 to T.
        spacing: "trailing": T, T - T/n, ... "linear": evenly from T to 1, both included ("linspace" in diffusers).
            "quadratic": evenly in sqrt(t), dense near the image (Song et al. 2021, D.2). "karras": the first is T, the
            others are evenly spaced in sigma^(1/7), where sigma = b_t / a_t (Karras et al. 2022, eq. 5).
            They go from min(`sigma_max`, sigma_T) to max(0.002, sigma_1).
        sigma_max: for "karras" only: above 0, in standard deviations of the latents. At a larger sigma, x_t is so noisy
            that it says nothing about the image, so one step skips all larger sigma. None means 80 (Karras).

    Raises:
        InputError: the spacing is unknown, sigma_max is not above 0, or num_inference_steps is not in 1..T.
    """
    total, n = schedule.num_train_timesteps, num_inference_steps
    if sigma_max is not None and not sigma_max > 0.0:
        raise InputError(f"sigma_max: {sigma_max} must be above 0")
    if not 1 <= n <= total:
        raise InputError(f"num_inference_steps: {n} must be between 1 and num_train_timesteps = {total}")
    if spacing == "trailing":
        return [round(total - i * total / n) for i in range(n)]
    if spacing not in SPACINGS:
        raise unknown("timestep_spacing", spacing, SPACINGS)
    fraction = torch.linspace(1.0, 0.0, n, dtype=torch.float64)  # for n = 1, only T
    if spacing == "linear":
        t = 1.0 + (total - 1.0) * fraction
    elif spacing == "quadratic":
        t = (1.0 + (total**0.5 - 1.0) * fraction) ** 2
    else:
        t = _karras(schedule, fraction, KARRAS_SIGMA_MAX if sigma_max is None else sigma_max)
    return _distinct(t.round().long().tolist(), total)


def _karras(schedule: Schedule, fraction: torch.Tensor, sigma_max: float) -> torch.Tensor:
    """The timesteps whose sigma is nearest to Karras's values.

    Karras's sigma has a limit. The sigma of a schedule can be infinite.
    """
    roots = (schedule.noise[1:] / schedule.signal[1:]).pow(1.0 / KARRAS_RHO)
    low = roots[0].clamp(min=KARRAS_SIGMA_MIN ** (1.0 / KARRAS_RHO))
    high = roots[-1].clamp(max=sigma_max ** (1.0 / KARRAS_RHO))
    wanted = low + (high - low) * fraction
    return 1.0 + (roots[None, :] - wanted[:, None]).abs().argmin(dim=1).double()


def _distinct(t: list[int], total: int) -> list[int]:
    """Move timesteps that rounding made equal to free neighbours: first upwards from the image, then down from T."""
    for i in range(len(t) - 1, -1, -1):
        t[i] = max(t[i], t[i + 1] + 1 if i + 1 < len(t) else 1)
    t[0] = total
    for i in range(1, len(t)):
        t[i] = min(t[i], t[i - 1] - 1)
    return t
