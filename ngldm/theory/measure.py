"""Moments, densities and Theorem 1's ratios of noises, measured on draws from them. Nothing is trained.

This takes seconds on two cores, whatever the data set.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ngldm.diffusion.forward import possible_forwards
from ngldm.diffusion.schedules import Schedule
from ngldm.io.items import Rows
from ngldm.noise import Law, Noise
from ngldm.theory.tables import Density, Histogram, MomentRow, TheoremRow, Theory
from ngldm.theory.theorem1 import kurtosis_left, theorem1_ratio

MakeSchedule = Callable[[int], Schedule]  # T -> the schedule of T timesteps
THEOREM_STEPS = (1, 3, 10, 30, 100, 300, 1000)
THEOREM_VALUES = 30_000  # noised values of latents; so many take at most a second for the chain of 1000 steps
DRAWS = 100_000
MOST = 4_000_000  # values drawn for the elements of one noise of whole items: 32 MB
LIMIT = 4.0  # histograms and densities reach from -LIMIT to LIMIT standard deviations
BINS = 80


def measure_theory(
    latents: Rows,
    noises: Mapping[str, Law],
    schedule: MakeSchedule,
    num_train_timesteps: int,
    advance: Callable[[int], None] = lambda count: None,
) -> Theory:
    """All measurements of the noises that are compared.

    Args:
        latents: (N, c, h, w) standardised training latents. Only the first few are noised, to x_T.
        noises: label to noise.
        schedule: makes a schedule with a given number of timesteps.
        num_train_timesteps: the largest T to measure.
        advance: called with 1 after each of Theorem 1's ratios: `count_ratios` of them.
    """
    draws = draw(noises, latents.shape[1:])
    steps, others = theorem_steps(num_train_timesteps), without_gaussian(noises)
    return Theory(
        latent_shape=latents.shape[1:],
        theorem=measure_theorem(_few(latents), others, steps, schedule, advance=advance),
        moments=moments(noises, draws),
        histograms=histograms(draws),
        densities=densities(noises),
    )


def without_gaussian(noises: Mapping[str, Law]) -> dict[str, Law]:
    """All noises but the Gaussian, to which Theorem 1 compares them."""
    return {label: noise for label, noise in noises.items() if noise.name != "gaussian"}


def theorem_steps(longest: int) -> list[int]:
    """The values of T to measure: those of `THEOREM_STEPS` below `longest`, and `longest` itself (at most 1000)."""
    return sorted({t for t in THEOREM_STEPS if t < longest} | {min(longest, THEOREM_STEPS[-1])})


def count_ratios(noises: Mapping[str, Law], schedule: Schedule) -> int:
    """The number of Theorem 1's ratios that `measure_theory` measures. The schedule is the longest one."""
    steps = theorem_steps(schedule.num_train_timesteps)
    return len(without_gaussian(noises)) * len(possible_forwards(schedule)) * len(steps)


def _few(latents: Rows) -> Tensor:
    """The first latents: about `THEOREM_VALUES` values, but at least 16 latents. Fewer large latents are enough,
    because their distances vary less.
    """
    count = min(len(latents), max(16, THEOREM_VALUES // math.prod(latents.shape[1:])))
    return torch.from_numpy(latents[:count].copy())


def draw(noises: Mapping[str, Law], item: Sequence[int], seed: int = 0) -> dict[str, Tensor]:
    """`DRAWS` float64 elements of each noise, in items of a shape such as (c, h, w)."""
    return {
        label: draw_elements(noise, DRAWS, item, torch.Generator().manual_seed(seed)) for label, noise in noises.items()
    }


def draw_elements(noise: Law, count: int, item: Sequence[int], generator: torch.Generator) -> Tensor:
    """`count` float64 elements of a noise.

    Elements of one item may depend on each other. So of a noise of whole items few elements are taken from each item:
    as many items are drawn as `MOST` values hold.
    """
    if isinstance(noise, Noise):
        return noise.sample((count,), generator, dtype=torch.float64)
    size = math.prod(item)
    items = min(count, max(MOST, count) // size + 1)
    values = noise.sample((items, *item), generator, dtype=torch.float64).flatten(1)
    each = -(-count // items)
    return values[:, torch.randperm(size, generator=generator)[:each]].flatten()[:count]


def moments(noises: Mapping[str, Law], draws: Mapping[str, Tensor]) -> list[MomentRow]:
    """Mean, variance, skewness and excess kurtosis of each noise: exact values and those of its draws."""
    rows = []
    for label, noise in noises.items():
        x, exact = draws[label], exact_moments(noise)
        centred = x - noise.mean
        variance = exact["variance"] if math.isfinite(exact["variance"]) else float(centred.square().mean())
        z = centred / variance**0.5
        sampled = (x.mean(), centred.square().mean(), (z**3).mean(), (z**4).mean() - 3.0)
        rows += [
            MomentRow(noise=label, moment=name, exact=value, sampled=float(found))
            for (name, value), found in zip(exact.items(), sampled, strict=True)
        ]
    return rows


def exact_moments(noise: Law) -> dict[str, float]:
    """Mean, variance, skewness and excess kurtosis of one element; nan where they have no closed form."""
    one = noise.marginal
    return {
        "mean": noise.mean,
        "variance": noise.second_moment - noise.mean**2 if one is None else one.variance,
        "skewness": math.nan if one is None else one.skewness,
        "excess kurtosis": math.nan if one is None else one.excess_kurtosis,
    }


def histograms(draws: Mapping[str, Tensor], limit: float = LIMIT) -> dict[str, Histogram]:
    """A histogram of each noise's draws from -limit to limit, with `BINS` bins of equal width."""
    found = {}
    for label, values in draws.items():
        density, edges = np.histogram(values.numpy(), bins=BINS, range=(-limit, limit), density=True)
        found[label] = Histogram(edges.tolist(), density.tolist())
    return found


def densities(noises: Mapping[str, Law], limit: float = LIMIT) -> dict[str, Density]:
    """The density from -limit to limit, of the noises whose density has a closed form."""
    x = torch.linspace(-limit, limit, 801, dtype=torch.float64)
    ones = {label: noise.marginal for label, noise in noises.items()}
    known = {k: n for k, n in ones.items() if n is not None and n.base.function("log_prob") and not n.base.discrete}
    return {label: Density(x.tolist(), noise.log_prob(x).exp().tolist()) for label, noise in known.items()}


def measure_theorem(
    latents: Tensor,
    noises: Mapping[str, Law],
    steps: Sequence[int],
    schedule: MakeSchedule,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> list[TheoremRow]:
    """Theorem 1's ratio for each noise, forward process that the schedule has, and T.

    Args:
        latents: (N, ...) standardised, N >= 2.
        noises: label to noise.
        steps: the values of T.
        schedule: makes a schedule with T timesteps.
        seed: of the draws.
        advance: called with 1 after each ratio.
    """
    rows = []
    for label, noise in noises.items():
        for forward in possible_forwards(schedule(steps[0])):
            for count in steps:
                betas = schedule(count)
                found = theorem1_ratio(latents, noise, betas, forward, seed)
                rows.append(
                    TheoremRow(
                        noise=label,
                        forward=forward,
                        steps=count,
                        ratio=found.mean,
                        std_error=found.std_error,
                        rms_ratio=found.rms,
                        rms_std_error=found.rms_std_error,
                        kurtosis_left=kurtosis_left(betas) if forward == "markov" else 1.0,
                    )
                )
                advance(1)
    return rows
