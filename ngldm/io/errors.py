"""The one error that means "the input is wrong"; any other error means "the program is wrong"."""

from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message names what is wrong, its value and what is allowed.

    Commands print it without a traceback and exit with status 2.
    """


def unknown(kind: str, value: object, choices: Iterable[str]) -> InputError:
    """The error for a name that is not among `choices`."""
    return InputError(f"unknown {kind} {value!r}; choose one of: {', '.join(sorted(choices))}")
