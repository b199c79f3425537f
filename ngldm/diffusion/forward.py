"""The forward process: the distribution of eps in x_t = a_t x_0 + b_t eps.

D is the noise distribution.

`marginal`: eps is one draw of D. The paper's code trains on this.

`markov`: eps is the noise after t steps x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z_t (the paper's equation 1).
It is a weighted sum of t draws of D. Its variance is 1, like D's. It gets closer to a Gaussian as t grows, because more
draws take part. For Gaussian noise, `marginal` and `markov` are the same. If the mean of D is not 0, the means of the
steps add up: the mean of eps is the mean of D times the sum of the weights, which grows with t. The chain needs a
variance-preserving schedule.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ngldm.diffusion.names import FORWARDS
from ngldm.diffusion.schedules import Schedule
from ngldm.io.device import copied_once
from ngldm.io.errors import InputError, unknown
from ngldm.noise import Law, Noise
from ngldm.noise.laws.annealed import Annealed

PARTICLES = 2**16  # simulated chains: the error of the distribution function is about 1 / sqrt(4 * 65536) = 0.2 %
POOL = 16 * PARTICLES  # quantiles of D from which the draws of the chains are made
EXACT_UNTIL = 16  # each t up to this has its own row: a sum of few draws still has D's shape and atoms
ROW_CHANGE = 0.02  # change between two rows in the sums of w_i^3 and w_i^4; at least 1/100 of the total
MAX_TILT = 0.006  # moves no rank by more than 0.15 %: three standard errors of the median of a million draws


class Forward(Protocol):
    """The interface of a forward process, for training and for the start of sampling."""

    @property
    def noise(self) -> Law: ...

    def sample(self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None) -> Tensor:
        """eps of x_t: variance 1, mean 0 (except for uncentred noise), float32, on the device of t.

        Args:
            shape: (B, ...).
            t: (B,) integers in 1..T.
            generator: on the device of t.
        """
        ...


class Marginal:
    """One draw of D."""

    def __init__(self, noise: Law) -> None:
        self.noise = noise

    def sample(self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.noise.sample(shape, generator, t.device)


class AnnealedMarginal:
    """One draw of a law that changes with t, by the schedule's lambda = log(a / b)."""

    def __init__(self, noise: Annealed, schedule: Schedule) -> None:
        self.noise = noise
        self.weights = copied_once(noise.at(schedule.lambdas))

    def sample(self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None) -> Tensor:
        (weights,) = self.weights(t.device)
        return self.noise.sample_at(shape, weights[t], generator)

    def carry(self, eps: Tensor, t: int, s: int) -> Tensor:
        """The noise (B, ...) of x_t as that of x_s."""
        (weights,) = self.weights(eps.device)
        return self.noise.carry(eps, *(weights[step].expand(len(eps)) for step in (t, s)))


class _Table(NamedTuple):
    """Noise of simulated chains at selected t, and the two rows to use for each t.

    Attributes:
        noise: (rows, PARTICLES) float32, of mean 0.
        lower, upper: (T + 1,) the nearest rows below and above t; both are the same if t has its own row.
        above: (T + 1,) share of the draws that come from `upper`.
        mean: (T + 1,) mean of the noise at t.
    """

    noise: Tensor
    lower: Tensor
    upper: Tensor
    above: Tensor
    mean: Tensor

    def to(self, device: torch.device) -> "_Table":
        return _Table(*(part.to(device) for part in self))


class Markov:
    """The noise of the chain. It is drawn from a table, so a draw costs the same for every t.

    eps of x_t is a sum of w_i z_i. The squares of the weights add up to 1. The skewness of eps is D's skewness times
    the sum of w_i^3. Its excess kurtosis is D's times the sum of w_i^4. The table gets a new row each time these sums
    have changed by 0.02. They change most at small t, where the first draws are added. They also change near T if the
    last steps replace most of the earlier noise (cosine betas, zero terminal SNR). A table has about 30 to 60 rows. If
    t is between two rows, each value is drawn from one of the two. The probability of each row is in proportion to the
    change of the sums.

    A row holds eps of 65536 simulated chains. Each step of the chains uses stratified quantiles of D in random order,
    so that the noise of each step has D's distribution. The noise is standardised by D's own mean and deviation,
    because a finite number of chains has less variance than D if its tails are very heavy.
    """

    def __init__(self, noise: Noise, schedule: Schedule) -> None:
        self.noise, self.schedule = noise, schedule

    @cached_property
    def _table(self) -> _Table:
        """The table, on the device where it was last used."""
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
        """The noise of the chains at the t in `rows`: (rows, PARTICLES) float32, with mean 0 and D's variance."""
        generator = torch.Generator().manual_seed(0)
        pool = _stratified(self.noise, generator)
        mean, deviation = pool.mean(), pool.std(correction=0)
        draws, chain, table = pool.float(), torch.zeros(PARTICLES), []  # chain: sqrt(1 - abar_t) eps_t
        alphas = self.schedule.alphas.tolist()
        for t in range(1, len(alphas)):
            draw = draws[torch.randperm(PARTICLES, generator=generator)]
            chain.mul_(alphas[t] ** 0.5).add_(draw, alpha=(1.0 - alphas[t]) ** 0.5)
            if t in rows:
                row = chain.double()  # random order leaves chance correlations: remove their effect
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
    """(T + 1, 3) float64: the sums of w_i^k for k = 1, 3, 4, where w_i is the weight of draw i in eps of x_t."""
    powers = torch.tensor([1.0, 3.0, 4.0], dtype=torch.float64)
    sums, found = torch.zeros(3, dtype=torch.float64), [torch.ones(3, dtype=torch.float64)]
    for alpha, abar in zip(schedule.alphas[1:], schedule.alphas_cumprod[1:], strict=True):
        sums = sums * alpha ** (powers / 2.0) + (1.0 - alpha) ** (powers / 2.0)
        found.append(sums / (1.0 - abar) ** (powers / 2.0))
    return torch.stack(found)


def _choose_rows(change: list[float]) -> list[int]:
    """The t that get a row: ascending, from 1 to T, both included.

    Two rows differ by at most ROW_CHANGE, except where one step alone changes more.

    Args:
        change: (T + 1,) total change up to t. If the total is above 100 times ROW_CHANGE, rows differ by 1/100 of it.
    """
    last, step = len(change) - 1, max(ROW_CHANGE, change[-1] / 100.0)
    rows = list(range(1, min(EXACT_UNTIL, last) + 1))
    for t in range(rows[-1] + 1, last + 1):
        if t == last or change[t + 1] - change[rows[-1]] > step:
            rows.append(t)
    return rows


def _stratified(noise: Noise, generator: torch.Generator) -> Tensor:
    """One value of standardised D for each of PARTICLES equally likely strata: (PARTICLES,) float64, ascending."""
    u = (torch.arange(POOL, dtype=torch.float64) + 0.5) / POOL
    if noise.base.function("icdf") is not None:
        pool = noise.icdf(u)
    else:
        pool = noise.sample((POOL,), generator, dtype=torch.float64).sort().values
        # The mean of random draws has an error, and the chain adds up this error. A shift of the values would move a
        # sharp edge of D to a wrong place. So we shift the ranks, by no more than their own sampling error.
        tilt = u * (1.0 - u)
        by = ((noise.mean - pool.mean()) / (tilt[1:] * pool.diff()).sum()).clamp(-MAX_TILT, MAX_TILT)
        pool = pool[((u + by * tilt) * POOL).long()]
    strata = pool.reshape(PARTICLES, -1)
    pool = strata[:, strata.shape[1] // 2] if noise.base.discrete else strata.mean(1)  # a mean of atoms is no atom
    standardised: Tensor = (pool - noise.mean) / noise.variance**0.5
    return standardised


def check_forward(name: str, noise: Law, coupling: str = "independent") -> None:
    """Check that the forward process of that name is for this noise and for this coupling of data and noise.

    Raises:
        InputError: it is `markov`, and the elements of the noise are not independent; or the law of the noise changes
            with t, and the coupling pairs the noise of a batch, whose images have different t.
    """
    changes = f"diffusion.forward {name!r}" if name == "markov" else f"noise {noise.name!r}"
    if coupling != "independent" and (name == "markov" or isinstance(noise, Annealed)):
        raise InputError(
            f"diffusion.coupling: {coupling!r} needs noise of the same law at all t, because each image of a batch has "
            f"a t of its own; with {changes} the law changes; use 'independent'"
        )
    if name == "markov" and not isinstance(noise, Noise):
        raise InputError(
            "diffusion.forward: 'markov' draws each element from a table of one-dimensional chains, but the elements "
            f"of the noise {noise.name!r} are not independent; use 'marginal'"
        )


def possible_forwards(schedule: Schedule) -> tuple[str, ...]:
    """The names of the forward processes that the schedule has: "markov" only if it has betas."""
    return tuple(name for name in FORWARDS if name != "markov" or schedule.chain is not None)


def make_forward(name: str, noise: Law, schedule: Schedule) -> Forward:
    """The forward process of that name.

    Raises:
        InputError: on an unknown name, or a process that is not for this noise or this schedule.
    """
    check_forward(name, noise)
    if name == "marginal":
        return AnnealedMarginal(noise, schedule) if isinstance(noise, Annealed) else Marginal(noise)
    if name == "markov" and isinstance(noise, Noise):
        schedule.require_chain("diffusion.forward: 'markov'")
        return Markov(noise, schedule)
    raise unknown("diffusion.forward", name, FORWARDS)
