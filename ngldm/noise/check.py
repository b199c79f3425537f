"""Check that the draws of a noise agree with its declared moments and quantiles.

Without this check, a wrong moment would make a comparison of noises unfair, and nobody would notice.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.noise.distribution import Noise

DRAWS = 2**14
ERRORS = 7.0  # a sampled value may differ by so many standard errors from the declared one; 7 never happen by chance
SLACK = 1e-3  # for rounding, in addition to the standard errors
VARIANCE_KURTOSIS = 100.0  # above this, the sampled variance is too uncertain for a comparison
SHAPE_KURTOSIS = 10.0  # above this, the sampled third and fourth moments are too uncertain
CUT = 30.0  # in deviations; if the variance is uncertain, the draws are cut here before the comparison


@dataclass(frozen=True)
class Moment:
    """A moment of the draws, the declared moment, and the standard error of their difference."""

    name: str
    sampled: float
    declared: float
    error: float
    bounded: bool = False  # `sampled` is a lower bound, so only a value that is too large is wrong

    def is_wrong(self) -> bool:
        above = max(self.sampled - self.declared, 0.0) if self.bounded else self.sampled - self.declared
        return math.isfinite(self.declared) and not abs(above) <= ERRORS * self.error + SLACK


def check_draws(noise: Noise) -> None:
    """Compare a noise's draws with its moments and its `icdf`.

    The `icdf` is not compared if the draws are made with it.

    Raises:
        InputError: they do not agree.
    """
    with torch.random.fork_rng(devices=[]):  # a `draw` may ignore its generator and use the global one
        torch.manual_seed(0)
        x = noise.sample((DRAWS,), torch.Generator().manual_seed(0), dtype=torch.float64)
    if not x.isfinite().all():
        raise InputError(
            f"noise {noise.name!r}: {int((~x.isfinite()).sum())} of {DRAWS} draws are not finite: its draw is wrong, "
            "or its numbers leave the range of float64"
        )
    if noise.excess_kurtosis < noise.skewness**2 - 2.0 - SLACK * (1.0 + noise.skewness**2):
        raise InputError(
            f"noise {noise.name!r}: no distribution has the skewness {noise.skewness:.4f} with the excess_kurtosis "
            f"{noise.excess_kurtosis:.4f}, which is at least skewness^2 - 2: a declared moment is wrong"
        )
    for moment in moments(noise, x):
        if moment.is_wrong():
            raise InputError(
                f"noise {noise.name!r}: {DRAWS} draws have {moment.name} {moment.sampled:.4f}, but the declared value "
                f"is {moment.declared:.4f}: its draw or a declared moment is wrong, or a part of it "
                "is too rare to be drawn"
            )
    if noise.base.draw is not None and noise.base.function("icdf") is not None:
        check_quantiles(noise, x)


def moments(noise: Noise, x: Tensor) -> Iterator[Moment]:
    """The moments to compare: variance and mean, and also skewness and kurtosis if the kurtosis is small enough.

    The variance comes first: if it is wrong, the standard error of the mean is wrong too.
    """
    z, root, kurtosis = (x - noise.mean) / noise.variance**0.5, len(x) ** 0.5, noise.excess_kurtosis
    if kurtosis <= VARIANCE_KURTOSIS:  # the variance's standard error is sqrt((kurtosis + 2) / n)
        # The sampled kurtosis too: a declared one that is too small must not make the variance look wrong.
        sampled = float((x - x.mean()).pow(4).mean() / x.var().square().clamp(min=1e-300)) - 3.0
        error = noise.variance * (max(kurtosis, sampled, -1.9) + 2.0) ** 0.5 / root
        yield Moment("variance", float(x.var()), noise.variance, error)
    else:
        cut = noise.variance * z.square().clamp(max=CUT**2)
        yield Moment("variance", float(cut.mean()), noise.variance, float(cut.std()) / root, bounded=True)
    yield Moment("mean", float(x.mean()), noise.mean, noise.variance**0.5 / root)
    if kurtosis <= SHAPE_KURTOSIS:
        # The part of a tail beyond the largest draw is missing in the sampled moment and in its standard error.
        third, fourth, tail = z**3, z**4, max(kurtosis, 0.0)
        error = float(third.std()) / root + 0.01 * tail
        yield Moment("skewness", float(third.mean()), noise.skewness, error)
        error = float(fourth.std()) / root + 0.05 * tail
        yield Moment("excess_kurtosis", float(fourth.mean()) - 3.0, kurtosis, error)


def check_quantiles(noise: Noise, x: Tensor) -> None:
    """Compare the share of draws below some quantiles with the share that `icdf` declares.

    Raises:
        InputError: they do not agree.
    """
    for u in (0.05, 0.25, 0.5, 0.75, 0.95):
        q = float(noise.icdf(torch.tensor(u, dtype=torch.float64)))
        slack = 1e-5 * max(
            1.0, abs(q)
        )  # a discrete noise has many draws at q, and rounding can move them to both sides
        below, until = (float((x <= q + side).double().mean()) for side in (-slack, slack))
        error = ERRORS * (u * (1.0 - u) / len(x)) ** 0.5
        if below > u + error or until < u - error:
            raise InputError(
                f"noise {noise.name!r}: {until:.4f} of {len(x)} draws are at or below the quantile {q:.4f} that its "
                f"icdf gives for {u}: its draw or its icdf is wrong"
            )
