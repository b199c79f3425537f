"""The one error that means "the input is wrong"; any other error means "the program is wrong"."""

from collections.abc import Callable, Iterable
from numbers import Real
from operator import index

MAX_NAME = 100  # characters; a file name may have 255 bytes, and a name is only part of one


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


def shown(value: object, most: int = 200) -> str:
    """A value as a message shows it: its `repr`, the middle left out if it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 4 :]}"


def require_name(key: str, value: object) -> str:
    """`value` as a name that is safe as a part of a path, as an argument of a command and on a terminal.

    Args:
        key: what the message begins with.

    Raises:
        InputError: it is no text, empty, longer than `MAX_NAME`, has a separator of paths (/ or a backslash), two dots
            in a row or an invisible character, or begins with a dash.
    """
    if not isinstance(value, str):
        raise InputError(f"{key}: {shown(value)} is not a text")
    fault = next((words for found, words in _FAULTS_OF_NAMES if found(value)), None)
    if fault:
        raise InputError(f"{key}: {shown(value)} {fault}; it is a name and becomes part of a path")
    return value


_FAULTS_OF_NAMES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda name: not name.strip(), "is empty"),
    (lambda name: len(name) > MAX_NAME, f"has more than {MAX_NAME} characters"),
    (lambda name: not name.isprintable(), "has a control character or another invisible one"),
    (lambda name: "/" in name or "\\" in name, "has a separator of paths"),
    (lambda name: ".." in name or name == ".", "has dots that mean a folder"),
    (lambda name: name.startswith("-"), "begins with a dash"),
)
