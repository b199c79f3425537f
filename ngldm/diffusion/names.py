"""Names and defaults of the diffusion's settings, and two rules about them.

This module does not import torch, so that checking params.yaml is fast.
"""

from ngldm.io.errors import InputError

SCHEDULES = ("constant", "linear", "quadratic", "cubic", "polynomial", "cosine", "sigmoid", "laplace", "edm")
FORWARDS = ("marginal", "markov")
OBJECTIVES = ("eps", "x0", "v")
WEIGHTINGS = ("none", "min_snr", "p2")
STEIN_HEADS = ("none", "scalar", "element")
COUPLINGS = ("independent", "minibatch_ot")

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


def require_signal(objective: str, zero_terminal_snr: bool, key: str = "diffusion.objective") -> None:
    """Refuse to predict eps where abar_T = 0.

    Args:
        key: the name of the setting that holds the objective, for the error message.

    Raises:
        InputError: the objective is "eps" and abar_T is 0. At T, x_T equals eps for every x_0, so eps cannot give x_0.
    """
    if zero_terminal_snr and objective == "eps":
        raise InputError(
            f"{key}: 'eps' cannot be used with schedule.zero_terminal_snr: x_T is pure noise, so eps does not give "
            "x_0; use 'v' or 'x0'"
        )
