"""Where to compute, and how to get the same bits each time. Imports torch only when called: `--help` needs none."""

import os
from typing import TYPE_CHECKING

from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.io.threads import fixed_threads

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> "torch.device":
    """The torch device of that name; "auto" is a GPU where torch finds one (CUDA's, else Apple's), else the CPU.

    With several processes on a machine, "auto" and "cuda" give each a GPU of its own.

    Raises:
        InputError: torch knows no such device, or this machine has none; NGLDM_THREADS is no number of threads.
    """
    import torch

    fixed_threads()
    if name == "auto":
        found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = next((name for name, is_here in found.items() if is_here), "cpu")
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


def has_float64(device: "torch.device") -> bool:
    """Whether the device computes in float64. Apple's GPUs do not."""
    return device.type != "mps"


def random_generator(device: "torch.device | str", seed: int) -> "torch.Generator":
    """A generator for draws on the device; on the CPU where the device has no float64, in which noise is drawn.

    Code that draws must draw on the generator's device, and then move the result.
    """
    import torch

    own = torch.device(device)
    return torch.Generator(own if has_float64(own) else "cpu").manual_seed(seed)


def in_float64(x: "torch.Tensor") -> "torch.Tensor":
    """x in float64: on its device, or on the CPU where the device has none."""
    return x.double() if has_float64(x.device) else x.cpu().double()


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
