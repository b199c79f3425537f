"""Check how `dataset.source` is written. It must mean the same to Python, DVC and Hydra.

If it does not, the error message shows how to write it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ngldm.io.errors import InputError

KEY = "dataset.source"
PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./:@ -]*")  # values that Hydra reads as text without quotes


def check_spelling(source: object) -> None:
    """Check the value of `dataset.source`. The disk is not read.

    Raises:
        ValueError: it is missing, is not a text, or begins with ~. Python and the shell expand ~, but DVC does not.
    """
    if source in ("???", "", None):
        raise ValueError(f"source: {source!r}; name your folder or archive: -S {KEY}=<path>")
    if not isinstance(source, str):
        raise ValueError(f"source: {source!r} is of type {type(source).__name__}, not a text; write ./{source}")
    if source.startswith("~"):
        home = Path(source).expanduser() if source == "~" or source.startswith("~/") else f"/home/{source[1:]}"
        raise ValueError(f"source: {source!r}; DVC does not know ~, write {str(home)!r}")


def require_source(source: str) -> None:
    """Check that the source exists. A relative path starts at the repository's root.

    Raises:
        InputError: it does not exist.
    """
    if not Path(source).exists():
        raise InputError(f"{KEY}: no such file or folder: {source} (in {Path.cwd()})")


def relative_note(source: str) -> str | None:
    """A note on a relative path, or None for an absolute path."""
    if Path(source).is_absolute():
        return None
    return (
        f"note: {KEY}: {source!r} is relative. `dvc exp run` with --temp or --queue works in a copy with only the "
        f"files that git or DVC track; {str(Path(source).resolve())!r} works everywhere"
    )


def spelling_hint(overrides: Sequence[str]) -> str:
    """How to write `dataset.source` so that Hydra reads it as a path, or "" if the overrides are correct."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") == KEY and not PLAIN.fullmatch(value) and value[:1] not in ("'", '"', "$"):
            path = str(Path(value).expanduser()) if value.startswith("~/") else value
            quoted = path.replace("'", r"\'")
            return f"""\n  quote the path for Hydra, and the whole argument for the shell: -S "{key}='{quoted}'\""""
    return ""
