"""The names and lengths that settings of the training loop can have. No torch here: params.yaml is checked quickly."""

from ngldm.io.device import AUTO, check_computation
from ngldm.io.errors import InputError, require_real

LR_SCHEDULES = ("constant", "cosine")
ADAMW = "adamw"
OPTIMIZERS = (ADAMW, "muon")
LONGEST = 12**-0.5  # relative length of the plain mean of all weights


def check_precision(precision: str, layout: str, accumulate_steps: int | None) -> None:
    """Check that what is left to the machine goes together.

    Raises:
        InputError: as `check_computation`; or both the precision and the number of parts are left open, of which each
            depends on the other.
    """
    check_computation(precision, layout)
    if precision == AUTO and accumulate_steps is None:
        raise InputError(f"accumulate_steps: null does not go with precision {AUTO!r}; give one of the two")


def check_length(sigma_rel: object, key: str = "sigma_rel") -> float:
    """A relative length of an average of weights, checked.

    Raises:
        InputError: it is not above 0 and at most that of the plain mean.
    """
    length = require_real(key, sigma_rel)
    if not 0.0 < length <= LONGEST:
        raise InputError(f"{key}: {sigma_rel} must be above 0 and at most {LONGEST:.4f}, the length of a plain mean")
    return length
