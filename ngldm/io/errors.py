"""The one error that means "the input is wrong"; any other error means "the program is wrong"."""

from collections.abc import Iterable
from numbers import Real
from operator import index


class InputError(ValueError):
    """Bad input: the message names what is wrong, its value and what is allowed.

    Commands print it without a traceback and exit with status 2.
    """


def unknown(kind: str, value: object, choices: Iterable[str]) -> InputError:
    """The error for a name that is not among `choices`."""
    return InputError(f"unknown {kind} {value!r}; choose one of: {', '.join(sorted(choices))}")


def require_whole(key: str, value: object, least: int, most: int | None = None) -> int:
    """`value` as an int. Numbers of NumPy and tensors with one whole number count too.

    Args:
        key: what the message begins with.
        least, most: the range, both included; None is no upper bound.

    Raises:
        InputError: it is no whole number, or out of range.
    """
    try:
        number = index(value)  # type: ignore[arg-type]  # TypeError if it has no such meaning
        if isinstance(value, bool):
            raise TypeError
    except TypeError:
        raise InputError(f"{key}: {value!r} is not a whole number") from None
    if most is not None and not least <= number <= most:
        raise InputError(f"{key}: {value} must lie between {least} and {most}")
    if number < least:
        raise InputError(f"{key}: {value} must be at least {least}")
    return number


def require_real(key: str, value: object) -> float:
    """`value` as a float. Numbers of NumPy count too; the range is left to the caller.

    Raises:
        InputError: it is no number, or a whole number that no float can hold.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{key}: {value!r} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{key}: a number of {len(str(value))} digits is too large") from None
