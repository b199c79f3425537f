"""In how many parts a batch is taken, where the settings leave it open: as few as the memory of the GPU allows.

It is found by trial before the first step. The batch itself stays as it was set, because its size decides what is
learned, while the number of its parts changes that only by rounding. So a training on a small GPU is the same training.
"""

from collections.abc import Callable

import torch

from ngldm.io import processes
from ngldm.io.errors import InputError

# Kinds of devices that refuse what does not fit. The memory of a CPU does not: the system swaps, or kills the process.
REFUSING = ("cuda",)


def fewest_parts(batch_size: int, device: torch.device, attempt: Callable[[int], None]) -> int:
    """The smallest number of equal parts that fits the memory, on each of several processes; 1 on a CPU.

    Args:
        attempt: makes a step in so many parts, and changes nothing.

    Raises:
        InputError: not even a single item fits.
    """
    if device.type not in REFUSING:
        return 1
    share = batch_size // processes.size()
    for parts in (count for count in range(1, share + 1) if share % count == 0):
        if all(processes.gather(_fits(parts, attempt))):
            return parts
    raise InputError(
        f"accumulate_steps: found no number that fits: the memory of {device} is too small for a single item; "
        "make the network smaller, or train it in bf16"
    )


def _fits(parts: int, attempt: Callable[[int], None]) -> bool:
    try:
        attempt(parts)
        fits = True
    except torch.OutOfMemoryError:
        fits = False
    torch.cuda.empty_cache()  # what a trial has left in pieces would be in the way of the next one
    return fits
