"""Names and defaults of the diffusion's settings, and the rules about them.

This module does not import torch, so that checking params.yaml is fast.
"""

import math
from collections.abc import Mapping
from typing import TypedDict

from ngldm.io.errors import InputError, require_real

VARIANCE_PRESERVING = ("constant", "linear", "quadratic", "cubic", "polynomial", "cosine", "sigmoid", "laplace", "edm")
SCHEDULES = (*VARIANCE_PRESERVING, "rectified_flow", "edm_ve", "stable")
FORWARDS = ("marginal", "markov")
OBJECTIVES = ("eps", "x0", "v", "u")
WEIGHTINGS = ("none", "min_snr", "p2")

# The values of DDPM (Ho et al. 2020, section 4)
NUM_TRAIN_TIMESTEPS, BETA_START, BETA_END = 1000, 1e-4, 0.02


class Shape(TypedDict, total=False):
    """The options of the schedules "edm_ve" (sigma_min, sigma_max, rho) and "stable" (alpha). Others ignore them."""

    sigma_min: float
    sigma_max: float
    rho: float
    alpha: float


# Karras et al. 2022, table 1; alpha is that of DLPM on images (Shariatian et al. 2025)
SHAPE = {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0, "alpha": 1.8}


def check_shape(name: str, zero_terminal_snr: bool, given: Mapping[str, object]) -> dict[str, float]:
    """Check the options of a schedule.

    Args:
        given: some keys of `SHAPE`.

    Returns:
        All keys of `SHAPE`; those that are not given have its values.

    Raises:
        InputError: an option is unknown or out of range, or zero terminal SNR is asked of "edm_ve".
    """
    shape = dict(SHAPE)
    for key, value in given.items():
        if key not in SHAPE:
            raise InputError(f"schedule.{key}: unknown option; known: {', '.join(SHAPE)}")
        shape[key] = require_real(f"schedule.{key}", value)
        if not 0.0 < shape[key] < math.inf:
            raise InputError(f"schedule.{key}: {value} must be above 0 and finite")
    if not shape["sigma_min"] < shape["sigma_max"]:
        raise InputError(f"schedule.sigma_min: {shape['sigma_min']} must be below sigma_max = {shape['sigma_max']}")
    if not 1.0 < shape["alpha"] <= 2.0:
        raise InputError(f"schedule.alpha: {shape['alpha']} must be above 1 and at most 2")
    if name == "edm_ve" and zero_terminal_snr:
        raise InputError(
            "schedule.zero_terminal_snr: not with 'edm_ve', where a = 1 at every t; raise sigma_max instead"
        )
    return shape


def ends_in_noise(name: str, zero_terminal_snr: bool) -> bool:
    """Whether a_T = 0: x_T is noise alone."""
    return zero_terminal_snr or name == "rectified_flow"


def require_signal(objective: str, pure_noise: bool, key: str = "diffusion.objective") -> None:
    """Refuse to predict eps where a_T = 0.

    Args:
        pure_noise: a_T is 0 (`ends_in_noise`).
        key: the name of the setting that holds the objective, for the error message.

    Raises:
        InputError: the objective is "eps" and a_T is 0. At T, x_T is eps for every x_0, so eps cannot give x_0.
    """
    if pure_noise and objective == "eps":
        raise InputError(
            f"{key}: 'eps' cannot be used with schedule.zero_terminal_snr or schedule.name 'rectified_flow': x_T is "
            "pure noise, so eps does not give x_0; use 'u', 'v' or 'x0'"
        )


def needs_chain(who: str) -> InputError:
    """The error that `who` cannot be used with a schedule that is not variance preserving."""
    return InputError(
        f"{who}: needs a variance-preserving schedule; use schedule.name {', '.join(VARIANCE_PRESERVING)}"
    )


def require_chain(who: str, name: str) -> None:
    """Refuse to use `who` with a schedule that is not variance preserving.

    Args:
        who: the setting that needs it, with its value.
        name: of the schedule.

    Raises:
        InputError: the schedule has no betas.
    """
    if name not in VARIANCE_PRESERVING:
        raise needs_chain(who)
