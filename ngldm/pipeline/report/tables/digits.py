"""Numbers as text whose digits stand below each other."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

SIGNIFICANT, OF_ERROR = 4, 2  # digits of a figure, more than any is known to, and of its error
UNKNOWN = "-"


class Measured(NamedTuple):
    """A figure and its error.

    Attributes:
        error: None if it is not known.
        best: whether it is lower than all others that it is compared with.
    """

    value: float
    error: float | None = None
    best: bool = False

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2g}"
        return f"{self.value:.4g}{error}"


def digits(value: float | None, significant: int = SIGNIFICANT) -> str:
    """A number with so many significant digits, zeros at its end included; below 1e-4 with an exponent."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if isinstance(value, int) or value == 0 or math.isinf(value):
        return f"{value:.0f}"
    text = f"{value:#.{significant}g}".removesuffix(".")
    return f"{value:.0f}" if "e" in text and abs(value) > 1 else text


@dataclass(frozen=True)
class Padded:
    """A number with the characters that it lacks, before and after, to be as long as the longest of its column."""

    before: str
    text: str
    after: str


def aligned(texts: Sequence[str]) -> list[Padded]:
    """The numbers of a column, padded so that their points, or their ends, stand below each other."""
    parts = [text.partition(".") for text in texts]
    head = max((len(whole) for whole, _, _ in parts), default=0)
    tail = re.sub("[0-9]", "0", max((point + rest for _, point, rest in parts), key=len, default=""))
    return [
        Padded("0" * (head - len(whole)), text, tail[len(point + rest) :])
        for text, (whole, point, rest) in zip(texts, parts, strict=True)
    ]
