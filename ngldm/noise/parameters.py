"""Checks of a distribution's parameters; the error names the parameter, its value and what is allowed."""

import math

from ngldm.io.errors import InputError, require_real


def number(key: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """A parameter as a float.

    Raises:
        InputError: not a finite number strictly between `low` and `high`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(require_real(key, value)):
        raise InputError(f"{key}: {value!r} is not a finite number")
    if not low < value < high:
        allowed = f"strictly between {low:g} and {high:g}"
        if math.inf in (high, -low):
            allowed = f"above {low:g}" if high == math.inf else f"below {high:g}"
        raise InputError(f"{key}: {value!r} must be {allowed}")
    return float(value)


def whole(key: str, value: object, most: int | None = None) -> int:
    """A parameter as a whole number from 1 to `most`.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{key}: {value!r} must be a whole number of at least 1")
    if most is not None and value > most:
        raise InputError(f"{key}: {value!r} must be at most {most}")
    return value
