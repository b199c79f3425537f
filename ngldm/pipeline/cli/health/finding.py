"""What a check of `ngldm doctor` says."""

from collections.abc import Callable
from dataclasses import dataclass

from ngldm.pipeline.config.params import Params


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        state: ok, warn (works, but should be looked at) or FAIL (something needed is broken).
        detail: what was found.
        remedy: how to repair it.
    """

    state: str
    detail: str
    remedy: str = ""


def found_by(check: Callable[[Params | None], Finding], params: Params | None) -> Finding:
    """A check's finding. An unexpected error in a check is shown as a failure, without a traceback."""
    try:
        return check(params)
    except Exception as error:
        return Finding("FAIL", f"{type(error).__name__}: {error}", "see the message")
