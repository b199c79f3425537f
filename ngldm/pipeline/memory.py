"""Allocations that fail: a message that says what needed how much, and what lowers it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ngldm.io.errors import InputError

CPU = re.compile(r"can't allocate memory: you tried to allocate (\d+) bytes")  # torch
GPU = re.compile(r"Tried to allocate ([\d.]+ \w+)(?:.*?of which ([\d.]+ \w+) is free)?", re.DOTALL)  # torch
ARRAY = re.compile(r"Unable to allocate ([\d.]+ \w+)")  # NumPy


@contextmanager
def enough_memory(what: str, lower: str) -> Iterator[None]:
    """Turn an allocation that fails within the block into bad input.

    Args:
        what: needs the memory, for example "a step of train laplace".
        lower: the settings that lower it, for example "train.batch_size".

    Raises:
        InputError: an allocation of torch or NumPy, on a CPU or a GPU, or of Python itself has failed.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        amount = _asked_for(error)
        if amount is None:
            raise
        raise InputError(f"not enough memory for {what}: {amount}; lower {lower}") from error


def _asked_for(error: Exception) -> str | None:
    """What an allocation asked for; None if the error is another one."""
    text = str(error)
    if found := CPU.search(text):
        return f"it asked for {_readable(int(found[1]))} more"
    if type(error).__name__ == "OutOfMemoryError" and (found := GPU.search(text)):
        free = f", and the GPU has {found[2]}" if found[2] else ""
        return f"it asked for {found[1]} more{free}"
    if found := ARRAY.search(text):
        return f"it asked for {found[1]} more"
    if isinstance(error, MemoryError) or "std::bad_alloc" in text or "Cannot allocate memory" in text:
        return "there is none left"
    return None


def _readable(count: int) -> str:
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB")):
        if count >= 2**power:
            return f"{count / 2**power:.1f} {unit}"
    return f"{count} bytes"
