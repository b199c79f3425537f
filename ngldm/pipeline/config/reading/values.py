"""What holds for every text and every number of params.yaml, whatever its key means."""

import math
import unicodedata
from collections.abc import Mapping

from ngldm.io.errors import InputError, shown
from ngldm.io.limits import MAX_PATH, MAX_REAL

INVISIBLE = ("Cc", "Cs")  # Unicode's control characters, and halves of characters


def require_possible(key: str, value: object) -> None:
    """Check a text or a number, also those in lists and mappings. Other values are left to their own checks.

    Args:
        key: what the message begins with.

    Raises:
        InputError: a text is empty, longer than a path may be, or has a control character, such as the zero that no
            path can hold; or a number is above `MAX_REAL`.
    """
    if isinstance(value, str):
        if fault := _fault_of(value):
            raise InputError(f"{key}: {shown(value)} {fault}; to leave it out write null, without quotes")
    elif isinstance(value, int | float):
        if MAX_REAL < abs(value) < math.inf:
            raise InputError(f"{key}: {shown(value)} is too large: numbers are at most {MAX_REAL:g}")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            require_possible(f"{key}.{shown(name) if not isinstance(name, str) else name}", inner)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            require_possible(f"{key}[{number}]", inner)


def _fault_of(text: str) -> str | None:
    if not text.strip():
        return "is empty"
    if len(text) > MAX_PATH:
        return f"has more than {MAX_PATH} characters"
    return "has a control character" if any(unicodedata.category(c) in INVISIBLE for c in text) else None
