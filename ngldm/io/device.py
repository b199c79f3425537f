"""Where to compute, and how to get the same bits each time. Imports torch only when called: `--help` needs none."""

import os
from typing import TYPE_CHECKING

from ngldm.io import processes
from ngldm.io.errors import InputError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> "torch.device":
    """The torch device of that name; "auto" is a GPU where torch finds one, else the CPU.

    With several processes on a machine, "auto" and "cuda" give each a GPU of its own.

    Raises:
        InputError: torch knows no such device, or this machine has none.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and processes.size() > 1:
        name = f"cuda:{processes.local_rank()}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); choose auto, cpu or a GPU that exists"
        ) from error
    return device


def free_memory(device: "torch.device") -> int:
    """Free bytes of a device; of a CPU, what the machine can give without swapping."""
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def be_deterministic() -> None:
    """From now on, the same inputs give the same bits on one machine."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would import the compiler: 4 s
    torch.backends.cudnn.benchmark = False
