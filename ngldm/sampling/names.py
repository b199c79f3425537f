"""Names of a sampler's settings, and the rules on which may be combined.

This module does not import torch, so that checking params.yaml is fast.
"""

import re
from collections.abc import Mapping

from ngldm.io.errors import InputError, require_real, require_whole, unknown
from ngldm.io.limits import MAX_AVERAGED, MAX_T

# Method -> its own settings, in addition to COMMON_OPTIONS.
SAMPLER_OPTIONS: dict[str, tuple[str, ...]] = {
    "ancestral": ("step_noise", "variance"),
    "ddim": ("eta", "step_noise"),
    "dpmpp_2m": (),
    "heun": (),
    "posterior": ("refresh", "step_noise"),
    "stein": ("eta",),
}
CHAIN_SAMPLERS = ("ancestral", "posterior")  # they need a variance-preserving schedule
MAX_SEED = 2**63 - 1  # of a set of images; it fits the integers of tables and of MLflow
COMMON_OPTIONS = (
    "method",
    "num_inference_steps",
    "timestep_spacing",
    "sigma_max",
    "x0_handling",
    "x0_limit",
    "start_noise",
    "guidance_scale",
    "guidance_rescale",
    "guidance_sigma_min",
    "guidance_sigma_max",
)
GUIDANCE = ("guidance_rescale", "guidance_sigma_min", "guidance_sigma_max")  # of no effect without guidance_scale
SPACINGS = ("trailing", "linear", "quadratic", "karras")
VARIANCES = ("beta", "posterior")  # for the method ancestral
X0_HANDLINGS = ("none", "clip", "dynamic", "range")
NUMBERS = ("eta", "refresh", "sigma_max", "x0_limit", "guidance_scale", *GUIDANCE)
LIMITED = ("clip", "dynamic")  # the x_0 handlings that have a limit


def check_settings(settings: Mapping[str, object]) -> None:
    """Check a sampler's settings: the method exists, it has all other settings, and the noise choices are valid.

    params.yaml, the command line and `ngldm.sampling.generator` all use this check. It does not check the ranges of
    numbers: the code that uses a number checks its range.

    Args:
        settings: `method` and any other keyword of `sample_latents`. The value None means not given.

    Raises:
        InputError: a setting is invalid. The message names it, its value and what is allowed.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    method = str(given.get("method"))
    if method not in SAMPLER_OPTIONS:
        raise unknown("sampler method", method, SAMPLER_OPTIONS)
    own = SAMPLER_OPTIONS[method]
    for key in given:
        if key not in own and key not in COMMON_OPTIONS:
            has = f"its own options are {sorted(own)}" if own else "it is deterministic and has no own options"
            raise InputError(f"{key}: not an option of method {method!r}; {has}")
    if "x0_limit" in given and given.get("x0_handling") not in LIMITED:
        raise InputError(
            f"x0_limit: not an option of x0_handling {given.get('x0_handling')!r}, only of {' and '.join(LIMITED)}"
        )
    if "sigma_max" in given and given.get("timestep_spacing") != "karras":
        spacing = given.get("timestep_spacing")
        raise InputError(f"sigma_max: not an option of timestep_spacing {spacing!r}, only of karras")
    for key in NUMBERS:
        if key in given:
            require_real(key, given[key])
    for key in GUIDANCE:
        if key in given and given.get("guidance_scale", 1.0) == 1.0:
            raise InputError(f"{key}: has no effect without a guidance_scale other than 1")
    if "num_inference_steps" in given:
        require_whole("num_inference_steps", given["num_inference_steps"], 1, MAX_T)
    for key in ("start_noise", "step_noise"):
        if key in given:
            check_noise_choice(key, str(given[key]))


def require_fraction(key: str, value: float) -> None:
    """Check that a sampler's setting lies in [0, 1], or raise an InputError that names it."""
    if not 0.0 <= value <= 1.0:
        raise InputError(f"{key}: {value} must be in [0, 1]")


def adds_noise(settings: Mapping[str, object]) -> bool:
    """Whether a sampler of these settings adds fresh noise at its steps."""
    method = str(settings["method"])
    own = SAMPLER_OPTIONS[method]
    amount = settings.get("refresh" if "refresh" in own else "eta")
    return bool(own) and (method != "ddim" if amount is None else amount != 0.0)


def check_coupling(coupling: str, method: str, noisy: bool, key: str = "sampler method") -> None:
    """Refuse fresh noise where training paired noise with images.

    Args:
        noisy: whether the sampler adds noise at its steps.
        key: the name of the setting that holds the method, for the error message.

    Raises:
        InputError: it does, and the coupling is not "independent".
    """
    if coupling != "independent" and noisy:
        raise InputError(
            f"{key}: {method!r} adds fresh noise, but with diffusion.coupling {coupling!r} the noise of an "
            "image depends on the image; use a deterministic sampler: dpmpp_2m, heun, or ddim with eta 0"
        )


def check_annealed(noise: str, method: str, noisy: bool, key: str = "sampler method") -> None:
    """Refuse all samplers but DDIM without noise where the law of the noise changes with t.

    Args:
        noise: the name of the law.
        noisy: whether the sampler adds noise at its steps.
        key: the name of the setting that holds the method, for the error message.

    Raises:
        InputError: it is another sampler.
    """
    if method != "ddim" or noisy:
        raise InputError(
            f"{key}: {method!r} takes the law of the noise to be the same at all t, and that of {noise!r} changes; "
            "use ddim with eta 0"
        )


def check_noise_choice(key: str, choice: str) -> None:
    """Check the value of `start_noise` or `step_noise`.

    Raises:
        InputError: the value is not one of the choices.
    """
    if choice in ("own", "gaussian") or (key == "start_noise" and choice == "x_T"):
        return
    averaged = re.fullmatch("averaged:([1-9][0-9]{0,3})", choice, re.ASCII)
    if averaged and int(averaged[1]) <= MAX_AVERAGED:
        return
    choices = "own, gaussian, averaged:<n>" + (", x_T" if key == "start_noise" else "")
    raise InputError(f"{key}: {choice!r} is not one of: {choices} (n must lie between 1 and {MAX_AVERAGED})")
