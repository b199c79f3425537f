"""Moments, densities and Theorem 1's ratios of noises, measured by drawing from them; no training."""

from collections.abc import Callable
from typing import Any

from ngldm.diffusion.names import FORWARDS
from ngldm.diffusion.schedules import make_schedule
from ngldm.noise import Noise
from ngldm.theory.theorem1 import kurtosis_left, theorem1_ratio

Row = dict[str, Any]
THEOREM_STEPS = (1, 3, 10, 30, 100, 300, 1000)
THEOREM_COLUMNS = ("noise", "forward", "steps", "ratio", "std_error", "rms_ratio", "rms_std_error", "kurtosis_left")
DRAWS = 100_000


def draw(noises: dict[str, Noise], seed: int = 0) -> dict[str, Any]:
    """DRAWS float64 values of each noise."""
    import torch

    return {
        label: noise.sample((DRAWS,), torch.Generator().manual_seed(seed), dtype=torch.float64)
        for label, noise in noises.items()
    }


def moments(noises: dict[str, Noise], draws: dict[str, Any]) -> list[Row]:
    """Per noise and moment the pair (exact, of the draws)."""
    rows = []
    for label, noise in noises.items():
        x = draws[label]
        z = (x - noise.mean) / noise.variance**0.5
        sampled = {
            "mean": x.mean(),
            "variance": ((x - noise.mean) ** 2).mean(),
            "skewness": (z**3).mean(),
            "excess kurtosis": (z**4).mean() - 3.0,
        }
        exact = (noise.mean, noise.variance, noise.skewness, noise.excess_kurtosis)
        cells = {key: (e, float(s)) for e, (key, s) in zip(exact, sampled.items(), strict=True)}
        rows.append({"noise": label, **cells})
    return rows


def densities(noises: dict[str, Noise], limit: float = 4.0) -> dict[str, tuple[Any, Any]]:
    """(x, density) within the limit, of the noises that have one in closed form."""
    import torch

    x = torch.linspace(-limit, limit, 801, dtype=torch.float64)
    known = {k: n for k, n in noises.items() if n.base.function("log_prob") and not n.base.discrete}
    return {label: (x.numpy(), noise.log_prob(x).exp().numpy()) for label, noise in known.items()}


def measure_theorem(
    latents: Any,
    noises: dict[str, Noise],
    steps: list[int],
    schedule: dict[str, Any],
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Row]:
    """Theorem 1's ratio for each noise, forward process and T.

    Args:
        latents: (N, ...) standardised, N >= 2.
        noises: label to noise.
        schedule: arguments of `make_schedule`; its number of timesteps gives way to each of `steps`.
        advance: called with 1 after each ratio.
    """
    rows = []
    for label, noise in noises.items():
        for forward in FORWARDS:
            for count in steps:
                betas = make_schedule(**{**schedule, "num_train_timesteps": count})
                found = theorem1_ratio(latents, noise, betas, forward, seed)
                left = kurtosis_left(betas) if forward == "markov" else 1.0
                values = (found.mean, found.std_error, found.rms, found.rms_std_error, left)
                rows.append(dict(zip(THEOREM_COLUMNS, (label, forward, count, *values), strict=True)))
                advance(1)
    return rows
