"""The forward process: which noise a latent x_t carries, x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.

`marginal`: eps is one draw of D. That is what the paper's code trains on.

`markov`: eps is what t steps x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z_t leave (the paper's equation 1): a
weighted sum of t draws of D, of variance 1 like D, but the nearer to a Gaussian the more draws take part. For Gaussian
noise both are the same. A mean of D adds up: the chain's is that mean times the sum of the weights, which grows with t.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ngldm.diffusion.names import FORWARDS
from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import unknown
from ngldm.noise import Noise

PARTICLES = 2**16  # chains behind the table: a distribution function off by at most some 1 / sqrt(4 * 65536) = 0.2 %
POOL = 16 * PARTICLES  # quantiles of D behind the chains' draws
EXACT_UNTIL = 16  # every t up to here has a row of its own; few draws still look like D, atoms and all
ROW_CHANGE = 0.02  # change of the weights' third and fourth power sums between two rows; at least a 100th of all
MAX_TILT = 0.006  # moves no rank by more than 0.15 %, three standard errors of a million draws' median


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


class _Table(NamedTuple):
    """Noise of simulated chains for some t, and between which of them every t lies.

    Attributes:
        noise: (rows, PARTICLES) float32, of mean 0.
        lower, upper: (T + 1,) the rows about t, the same where t has a row of its own.
        above: (T + 1,) share of the draws that come from `upper`.
        mean: (T + 1,) of the noise at t.
    """

    noise: Tensor
    lower: Tensor
    upper: Tensor
    above: Tensor
    mean: Tensor

    def to(self, device: torch.device) -> "_Table":
        return _Table(*(part.to(device) for part in self))


class Markov:
    """The noise of the chain, drawn from a table so that a draw costs the same for every t.

    eps of x_t is a sum of w_i z_i, with squares of the weights that add up to 1: its skewness is D's times the sum of
    w_i^3, its excess kurtosis D's times the sum of w_i^4. The table has a row for each t at which these sums have
    changed by 0.02, where the first draws come in, and again near T if the last steps replace what was there (cosine
    betas, zero terminal SNR); some 30 to 100 rows. A draw for t between two rows comes from either, in proportion to
    the change.

    A row holds eps of 65536 simulated chains. Their steps draw from stratified quantiles of D in random order, so that
    their noise has D's distribution, standardised by D's own mean and deviation: with very heavy tails, a finite number
    of chains has less variance than D.
    """

    def __init__(self, noise: Noise, schedule: Schedule) -> None:
        self.noise, self.schedule = noise, schedule

    @cached_property
    def _table(self) -> _Table:
        """Where it was last needed."""
        sums = _power_sums(self.schedule)
        change = torch.cat([torch.zeros(1, dtype=torch.float64), sums[:, 1:].diff(dim=0).abs().sum(1)]).cumsum(0)
        rows = torch.tensor(_choose_rows(change.tolist()))
        t = torch.arange(len(sums)).clamp(min=1)
        upper = torch.searchsorted(rows, t)  # rows[upper - 1] < t <= rows[upper]
        lower = (upper - (rows[upper] != t).long()).clamp(min=0)
        between = change[rows[upper]] - change[rows[lower]]
        above = (change[t] - change[rows[lower]]) / between.clamp(min=torch.finfo(torch.float64).tiny)
        mean = self.noise.mean * sums[:, 0]
        return _Table(self._simulate(set(rows.tolist()), sums[:, 0]), lower, upper, above.float(), mean.float())

    def _simulate(self, rows: set[int], weight_sums: Tensor) -> Tensor:
        """(rows, PARTICLES) float32: noise of the chains at those t, of mean 0 and D's variance."""
        generator = torch.Generator().manual_seed(0)
        pool = _stratified(self.noise, generator)
        mean, deviation = pool.mean(), pool.std(correction=0)
        draws, chain, table = pool.float(), torch.zeros(PARTICLES), []  # chain: sqrt(1 - abar_t) eps_t
        alphas = self.schedule.alphas.tolist()
        for t in range(1, len(alphas)):
            draw = draws[torch.randperm(PARTICLES, generator=generator)]
            chain.mul_(alphas[t] ** 0.5).add_(draw, alpha=(1.0 - alphas[t]) ** 0.5)
            if t in rows:
                row = chain.double()  # the draws' order makes them correlated by chance: take out what that adds
                row = (row - row.mean()) * (deviation / row.std(correction=0)) + mean * weight_sums[t]
                table.append((row * self.noise.variance**0.5).float())
        return torch.stack(table)

    def sample(self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None) -> Tensor:
        if self._table.noise.device != t.device:
            self._table = self._table.to(t.device)
        table, broadcast = self._table, (-1,) + (1,) * (len(shape) - 1)
        lower, upper, above, mean = (part[t].reshape(broadcast) for part in table[1:])
        choose = torch.rand(tuple(shape), generator=generator, device=t.device) < above
        particle = torch.randint(PARTICLES, tuple(shape), generator=generator, device=t.device)
        return table.noise[torch.where(choose, upper, lower), particle] + mean


def _power_sums(schedule: Schedule) -> Tensor:
    """(T + 1, 3) float64: sum of w_i^k, k = 1, 3, 4, of the weights w_i that the draws have in eps of x_t."""
    powers = torch.tensor([1.0, 3.0, 4.0], dtype=torch.float64)
    sums, found = torch.zeros(3, dtype=torch.float64), [torch.ones(3, dtype=torch.float64)]
    for alpha, abar in zip(schedule.alphas[1:], schedule.alphas_cumprod[1:], strict=True):
        sums = sums * alpha ** (powers / 2.0) + (1.0 - alpha) ** (powers / 2.0)
        found.append(sums / (1.0 - abar) ** (powers / 2.0))
    return torch.stack(found)


def _choose_rows(change: list[float]) -> list[int]:
    """t in 1..T, ascending, both included, no further apart than ROW_CHANGE or next to each other.

    Args:
        change: (T + 1,) up to t; a schedule with more than 100 steps of ROW_CHANGE gets longer ones.
    """
    last, step = len(change) - 1, max(ROW_CHANGE, change[-1] / 100.0)
    rows = list(range(1, min(EXACT_UNTIL, last) + 1))
    for t in range(rows[-1] + 1, last + 1):
        if t == last or change[t + 1] - change[rows[-1]] > step:
            rows.append(t)
    return rows


def _stratified(noise: Noise, generator: torch.Generator) -> Tensor:
    """(PARTICLES,) float64, ascending: a value of standardised D for each of so many equally likely strata."""
    u = (torch.arange(POOL, dtype=torch.float64) + 0.5) / POOL
    if noise.base.function("icdf") is not None:
        pool = noise.icdf(u)
    else:
        pool = noise.sample((POOL,), generator, dtype=torch.float64).sort().values
        # Drawn, its mean is off, which the chain adds up. Shifting the values would move a sharp edge of D off its
        # place; ranks can move by the error that those of a million draws have anyway.
        tilt = u * (1.0 - u)
        by = ((noise.mean - pool.mean()) / (tilt[1:] * pool.diff()).sum()).clamp(-MAX_TILT, MAX_TILT)
        pool = pool[((u + by * tilt) * POOL).long()]
    strata = pool.reshape(PARTICLES, -1)
    pool = strata[:, strata.shape[1] // 2] if noise.base.discrete else strata.mean(1)  # a mean of atoms is none of them
    standardised: Tensor = (pool - noise.mean) / noise.variance**0.5
    return standardised


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
