"""`dataset.source` must mean the same to Python, DVC and Hydra; what does not is refused with a spelling that does."""

import re
from collections.abc import Sequence
from pathlib import Path

from ngldm.io.errors import InputError

KEY = "dataset.source"
PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./:@ -]*")  # values that Hydra takes as a text without quotes


def check_spelling(source: object) -> None:
    """Check the value of `dataset.source`, without a look at the disk.

    Raises:
        ValueError: it is missing, no text, or begins with ~, which Python and the shell expand, and DVC does not.
    """
    if source in ("???", "", None):
        raise ValueError(f"source: {source!r}; name your folder or archive: -S {KEY}=<path>")
    if not isinstance(source, str):
        raise ValueError(f"source: {source!r} is of type {type(source).__name__}, not a text; write ./{source}")
    if source.startswith("~"):
        home = Path(source).expanduser() if source == "~" or source.startswith("~/") else f"/home/{source[1:]}"
        raise ValueError(f"source: {source!r}; DVC does not know ~, write {str(home)!r}")


def require_source(source: str) -> None:
    """Check that the source is there, seen from the repository's root.

    Raises:
        InputError: it is not.
    """
    if not Path(source).exists():
        raise InputError(f"{KEY}: no such file or folder: {source} (in {Path.cwd()})")


def relative_note(source: str) -> str | None:
    """What to know of a relative path, None of an absolute one."""
    if Path(source).is_absolute():
        return None
    return (
        f"note: {KEY}: {source!r} is relative. `dvc exp run` with --temp or --queue works in a copy, which holds only "
        f"what git or DVC track; {str(Path(source).resolve())!r} is found from everywhere"
    )


def spelling_hint(overrides: Sequence[str]) -> str:
    """How to write `dataset.source` so that Hydra takes it as a path; "" where the overrides need no such hint."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") == KEY and not PLAIN.fullmatch(value) and value[:1] not in ("'", '"', "$"):
            path = str(Path(value).expanduser()) if value.startswith("~/") else value
            quoted = path.replace("'", r"\'")
            return f"""\n  quote the path for Hydra, and all of it for the shell: -S "{key}='{quoted}'\""""
    return ""
