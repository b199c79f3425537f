"""Names and defaults of the diffusion's settings, and the rules about them.

This module does not import torch, so that checking params.yaml is fast.
"""

import math
from collections.abc import Mapping
from typing import TypedDict

from ngldm.io.errors import InputError, require_real, unknown

VARIANCE_PRESERVING = ("constant", "linear", "quadratic", "cubic", "polynomial", "cosine", "sigmoid", "laplace", "edm")
SCHEDULES = (*VARIANCE_PRESERVING, "rectified_flow", "edm_ve", "stable")
FORWARDS = ("marginal", "markov")
OBJECTIVES = ("eps", "x0", "v", "u")
WEIGHTINGS = ("none", "min_snr", "p2")
LOSSES = ("squared", "root")
STEIN_HEADS = ("none", "scalar", "element")
COUPLINGS = ("independent", "minibatch_ot")
PRECONDITIONINGS = ("none", "edm")
TIME_DENSITIES = ("uniform", "logit_normal", "edm_lognormal")

# The values of DDPM (Ho et al. 2020, section 4)
NUM_TRAIN_TIMESTEPS, BETA_START, BETA_END = 1000, 1e-4, 0.02


def require_gamma_used(weighting: str, gamma: float | None, key: str = "diffusion.gamma") -> None:
    """Refuse a gamma where no weighting uses it.

    Args:
        key: the name of the setting that holds gamma, for the error message.

    Raises:
        InputError: gamma is given, but the weighting is "none".
    """
    if weighting == "none" and gamma is not None:
        raise InputError(
            f"{key}: {gamma} has no effect with diffusion.weighting 'none'; leave it out (null), or choose "
            "the weighting 'min_snr' or 'p2'"
        )


class Shape(TypedDict, total=False):
    """The options of the schedules "edm_ve" (sigma_min, sigma_max, rho) and "stable" (alpha). Others ignore them."""

    sigma_min: float
    sigma_max: float
    rho: float
    alpha: float


class TrainingOptions(TypedDict, total=False):
    """Further settings of a diffusion.

    Attributes:
        coupling: of data and noise in training: "independent" (default), or "minibatch_ot", which pairs those of a
            batch at the least total squared distance.
        stein_head: the network's extra output for the sampler `stein`: "none" (default), "scalar" or "element" (see
            `ngldm.diffusion.stein_head`). A noise that needs none gets none.
        preconditioning: "none" (default) or "edm" (see `ngldm.diffusion.preconditioning`).
        loss: of an image's prediction: "squared" error (default) or its "root" (see `ngldm.diffusion.objective`).
        data_std: for preconditioning: root mean square of the data; 1 (default) for standardised latents.
        time_density, time_mean, time_std, time_shift: how often each t is trained (see `ngldm.diffusion.time_density`).
    """

    coupling: str
    stein_head: str
    preconditioning: str
    loss: str
    data_std: float
    time_density: str
    time_mean: float | None
    time_std: float | None
    time_shift: float


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
    for key in ("sigma_min", "sigma_max"):
        if not 1e-15 <= shape[key] <= 1e15:  # the squares of x_t must lie within float32
            raise InputError(f"schedule.{key}: {given[key]} must lie between 1e-15 and 1e15")
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


def require_bounded_velocity(objective: str, schedule: str, key: str = "diffusion.objective") -> None:
    """Refuse to train the velocity where it is only the noise, times hundreds.

    Args:
        schedule: its name.
        key: the name of the setting that holds the objective, for the error message.

    Raises:
        InputError: the objective is "u" and the schedule "edm_ve". There a = 1 and b = sigma, so u is eps times
            dsigma / d(t / T): 440 at T with the usual sigma_max, and nearly 0 at t = 1.
    """
    if objective == "u" and schedule == "edm_ve":
        raise InputError(
            f"{key}: 'u' cannot be trained with schedule.name 'edm_ve': there u is eps times the change of sigma, from "
            "about 0 to hundreds; use 'eps', or 'x0' with diffusion.preconditioning 'edm'"
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


def check_preconditioning(kind: str, objective: str) -> None:
    """Check a preconditioning and that the objective is the one that the network's output is turned into.

    Raises:
        InputError: an unknown name, or preconditioning with another objective than x0.
    """
    if kind not in PRECONDITIONINGS:
        raise unknown("diffusion.preconditioning", kind, PRECONDITIONINGS)
    if kind != "none" and objective != "x0":
        raise InputError(
            f"diffusion.preconditioning: {kind!r} turns the network's output into x_0; use diffusion.objective 'x0', "
            f"not {objective!r}"
        )


def check_time_density(name: str, mean: float | None, std: float | None, shift: float) -> None:
    """Check the settings of `ngldm.diffusion.time_density.TimeDensity`.

    Raises:
        InputError: an unknown name, a number out of range, or one that has no effect.
    """
    if name not in TIME_DENSITIES:
        raise unknown("diffusion.time_density", name, TIME_DENSITIES)
    for key, value in (("mean", mean), ("std", std)):
        if value is not None and not math.isfinite(require_real(f"diffusion.time_{key}", value)):
            raise InputError(f"diffusion.time_{key}: {value} must be finite")
        if value is not None and name == "uniform":
            raise InputError(f"diffusion.time_{key}: {value} has no effect with time_density 'uniform'; use null")
    if std is not None and not std > 0.0:
        raise InputError(f"diffusion.time_std: {std} must be above 0")
    if not 0.0 < require_real("diffusion.time_shift", shift) < math.inf:
        raise InputError(f"diffusion.time_shift: {shift} must be above 0 and finite")


def check_coupling_of_classes(coupling: str, key: str = "diffusion.coupling") -> None:
    """Refuse a coupling that pairs noise with images of all classes.

    Raises:
        InputError: the noise would depend on the class. Sampling draws it without the class (Cheng and Schwing 2025).
    """
    if coupling != "independent":
        raise InputError(
            f"{key}: {coupling!r} pairs noise with images of all classes, so the noise would depend on "
            "the class; with network.num_classes use independent"
        )
