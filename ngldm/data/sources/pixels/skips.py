"""What is left out of a data set, with the reason."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ngldm.io.errors import InputError

SHOWN = 5  # names in an error message; skipped.csv has them all


@dataclass(frozen=True)
class Skip:
    """A file or a whole folder that is not used in the data set. The name of a folder ends in /.

    Attributes:
        name: the path relative to the source.
        reason: damaged, too_large, too_small, link, stray (in no class or split), duplicate, validation (in a third
            split), format (a format that we do not read), hidden (made by a tool), or empty.
        detail: the reason in more words.
    """

    name: str
    reason: str
    detail: str


def printable(name: str) -> str:
    r"""A file's name, in which each byte that is not UTF-8 is written like \xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_skips(path: Path, skips: Sequence[Skip]) -> None:
    """Write a table of what was left out."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "reason", "detail"])
        writer.writerows([printable(skip.name), skip.reason, skip.detail] for skip in skips)


def refusal(skips: Sequence[Skip]) -> InputError:
    """The error for files that cannot be used, with on_error "fail"."""
    shown = "; ".join(f"{printable(skip.name)}: {skip.reason} ({skip.detail})" for skip in skips[:SHOWN])
    more = f" and {len(skips) - SHOWN} more" if len(skips) > SHOWN else ""
    return InputError(f"dataset.source: {shown}{more}. To leave such files out: dataset.on_error: skip")
