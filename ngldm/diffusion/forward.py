"""The forward process: which noise a latent x_t carries, x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.

`marginal`: eps is one draw of D. That is what the paper's code trains on.

`markov`: eps is what t steps x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z_t leave (the paper's equation 1): a
weighted sum of t draws of D, of variance 1 like D, but the nearer to a Gaussian the more draws take part. For Gaussian
noise both are the same. A mean of D adds up: the chain's is that mean times the sum of the weights, which grows with t.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from ngldm.diffusion.names import FORWARDS
from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import unknown
from ngldm.noise import Noise

PARTICLES = 2**16  # chains behind the table: a distribution function off by at most some 1 / sqrt(4 * 65536) = 0.2 %
EXACT_UNTIL = 16  # every t up to here has its own row; above, rows are 8 % apart and a draw comes from either neighbour
ROW_RATIO = 1.08


class Forward(Protocol):
    """What training and the start of sampling need of a forward process."""

    noise: Noise

    def sample(self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None) -> Tensor:
        """eps of x_t, mean 0 (but for uncentred noise) and variance 1, float32 on the device of t.

        Args:
            shape: (B, ...).
            t: (B,) integers in 1..T.
            generator: on the device of t.
        """
        ...


class Marginal:
    """One draw of D."""

    def __init__(self, noise: Noise) -> None:
        self.noise = noise

    def sample(self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.noise.sample(shape, generator, t.device)


class Markov:
    """The noise of the chain, drawn from a table so that a draw costs the same for every t.

    The table holds, for some 70 values of t, eps of 65536 simulated chains; a draw is one of those at random. The
    chains' steps draw from stratified quantiles of D in random order, so their noise has D's distribution exactly;
    each row is standardised, so variance and mean (D's times the sum of the row's weights) are exact. Between two rows'
    t, a draw comes from either, in proportion.
    """

    def __init__(self, noise: Noise, schedule: Schedule) -> None:
        self.noise, self.schedule = noise, schedule

    @cached_property
    def _rows(self) -> list[int]:
        total, rows = self.schedule.num_train_timesteps, [1]
        while rows[-1] < total:
            last = rows[-1]
            rows.append(min(total, last + 1 if last < EXACT_UNTIL else int(last * ROW_RATIO) + 1))
        return rows

    @cached_property
    def _table(self) -> Tensor:
        """(rows, PARTICLES) float32."""
        generator = torch.Generator().manual_seed(0)
        pool = self.noise.sample((PARTICLES, 16), generator, dtype=torch.float64).flatten().sort().values
        pool = _standardise(pool.reshape(PARTICLES, 16).mean(1)).float()
        alphas, rows, table = self.schedule.alphas.tolist(), set(self._rows), []
        signal2, chain, weights = 1.0, torch.zeros(PARTICLES), 0.0  # chain: sqrt(1 - abar_t) eps_t; sum of its weights
        for t in range(1, self.schedule.num_train_timesteps + 1):
            draw = pool[torch.randperm(PARTICLES, generator=generator)]
            chain.mul_(alphas[t] ** 0.5).add_(draw, alpha=(1.0 - alphas[t]) ** 0.5)
            weights = weights * alphas[t] ** 0.5 + (1.0 - alphas[t]) ** 0.5
            signal2 *= alphas[t]
            if t in rows:
                mean = self.noise.mean * weights / (1.0 - signal2) ** 0.5
                table.append((_standardise(chain) * self.noise.variance**0.5 + mean).float())
        return torch.stack(table)

    @cached_property
    def _placed(self) -> Tensor:
        """The table, where it was last needed."""
        return self._table

    def sample(self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None) -> Tensor:
        if self._placed.device != t.device:
            self._placed = self._placed.to(t.device)
        table, rows = self._placed, torch.tensor(self._rows, device=t.device)
        upper = torch.searchsorted(rows, t)  # rows[upper - 1] < t <= rows[upper]
        lower = (upper - 1).clamp(min=0)
        gap = (rows[upper] - rows[lower]).clamp(min=1)
        above = (t - rows[lower]) / gap  # 1 where t has a row of its own
        broadcast = (-1,) + (1,) * (len(shape) - 1)
        choose = torch.rand(tuple(shape), generator=generator, device=t.device) < above.reshape(broadcast)
        row = torch.where(choose, upper.reshape(broadcast), lower.reshape(broadcast))
        particle = torch.randint(PARTICLES, tuple(shape), generator=generator, device=t.device)
        return table[row, particle]


def _standardise(x: Tensor) -> Tensor:
    x = x.double()
    return (x - x.mean()) / x.std(correction=0)


def make_forward(name: str, noise: Noise, schedule: Schedule) -> Forward:
    """The forward process of that name.

    Raises:
        InputError: on an unknown name.
    """
    if name == "marginal":
        return Marginal(noise)
    if name == "markov":
        return Markov(noise, schedule)
    raise unknown("diffusion.forward", name, FORWARDS)
