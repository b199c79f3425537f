"""What a diffusion's settings can be called, and a rule between them. Without torch: params.yaml is checked at once."""

from ngldm.io.errors import InputError

SCHEDULES = ("constant", "linear", "quadratic", "cubic", "polynomial", "cosine", "sigmoid", "laplace", "edm")
FORWARDS = ("marginal", "markov")
OBJECTIVES = ("eps", "x0", "v")
WEIGHTINGS = ("none", "min_snr", "p2")

# DDPM's (Ho et al. 2020, section 4)
NUM_TRAIN_TIMESTEPS, BETA_START, BETA_END = 1000, 1e-4, 0.02


def require_signal(objective: str, zero_terminal_snr: bool, key: str = "diffusion.objective") -> None:
    """Refuse to predict eps where abar_T = 0.

    Args:
        key: which setting the objective is, for the message.

    Raises:
        InputError: the network would see pure noise at T, which eps equals whatever x_0 is.
    """
    if zero_terminal_snr and objective == "eps":
        raise InputError(
            f"{key}: 'eps' with schedule.zero_terminal_snr: x_T is pure noise, from which eps says nothing about x_0; "
            "use 'v' or 'x0'"
        )
