"""How often each t is trained: a density over lambda = log(a / b), so that it means the same for every schedule."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ngldm.diffusion.names import check_time_density
from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError

# Mean and deviation of log sigma = -lambda. SD3 (Esser et al. 2024): the logit of t is N(0, 1), and for rectified flow
# it is log sigma. EDM (Karras et al. 2022): N(-1.2, 1.2^2) for data of deviation 0.5, so -1.2 - log 0.5 for ours of 1.
USUAL_NORMAL = {"logit_normal": (0.0, 1.0), "edm_lognormal": (-1.2 - math.log(0.5), 1.2)}


@dataclass(frozen=True)
class TimeDensity:
    """The distribution of t in training.

    Attributes:
        name: "uniform": every t equally often. "logit_normal" (SD3) and "edm_lognormal" (EDM): log sigma = -lambda is
            normal; they differ in the usual mean and deviation.
        mean, std: of log sigma for the normal ones, std above 0. None means the authors' values.
        shift: k above 0 adds log k to log sigma: for images of more pixels, which need more noise (SD3: the root of the
            ratio of the numbers of pixels).

    Raises:
        InputError: an unknown name, a number out of range, or one that has no effect.
    """

    name: str = "uniform"
    mean: float | None = None
    std: float | None = None
    shift: float = 1.0

    def __post_init__(self) -> None:
        check_time_density(self.name, self.mean, self.std, self.shift)

    def sample(self, schedule: Schedule, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """(count,) integers in 1..T, on the device. The generator, if there is one, is on it too."""
        total = schedule.num_train_timesteps
        if self.name == "uniform" and self.shift == 1.0:
            return torch.randint(1, total + 1, (count,), generator=generator, device=device)
        u = torch.rand(count, generator=generator, device=device)
        reached = schedule.cached(self, lambda: self.probabilities(schedule).cumsum(0), u)
        return torch.searchsorted(reached, u, right=True).clamp(1, total)

    def probabilities(self, schedule: Schedule) -> Tensor:
        """(T + 1,) float64, sum 1; entry 0 is 0.

        The probability of t is that of its cell of lambda (`cells`). What lies outside all cells is left out.

        Raises:
            InputError: all of it lies outside.
        """
        edges = -cells(schedule) - math.log(self.shift)  # of log sigma without the shift, ascending
        mass = self._law(schedule)(edges).diff()
        if not float(mass.sum()) > 0.0:
            raise InputError(
                f"diffusion.time_density: {self.name!r} with mean {self.mean}, std {self.std} and shift {self.shift} "
                "has no probability at the noise levels of the schedule"
            )
        return torch.cat([torch.zeros(1, dtype=torch.float64), mass / mass.sum()])

    def _law(self, schedule: Schedule) -> Callable[[Tensor], Tensor]:
        """The distribution function of log sigma without the shift."""
        if self.name == "uniform":
            known = -cells(schedule).clamp(min=-math.log(torch.finfo(torch.float64).max))
            share = np.linspace(0.0, 1.0, len(known))
            return lambda edges: torch.from_numpy(np.interp(edges.numpy(), known.numpy(), share))
        mean, std = USUAL_NORMAL[self.name]
        mean, std = mean if self.mean is None else self.mean, std if self.std is None else self.std
        return lambda edges: torch.special.ndtr((edges - mean) / std)


def cells(schedule: Schedule) -> Tensor:
    """The edges of the cells of lambda: (T + 1,) float64, descending. Those of t are the entries t - 1 and t.

    They lie half-way between neighbours. The first and the last cell are as wide on both sides of their lambda; the
    last goes to -inf if a_T = 0.
    """
    levels = schedule.lambdas[1:]
    if len(levels) == 1:
        return torch.tensor([math.inf, -math.inf], dtype=torch.float64)
    between = (levels[:-1] + levels[1:]) / 2.0
    if math.isinf(float(levels[-1])):  # half-way to -inf is -inf: the last inner edge mirrors the one before it
        width = levels[-2] - (between[-2] if len(between) > 1 else levels[-2] + 1.0)
        between[-1] = levels[-2] + width
    first, last = 2.0 * levels[0] - between[0], 2.0 * levels[-1] - between[-1]
    return torch.cat([first[None], between, last[None]])
