"""Where and when a result was made. It is written beside the seconds that a stage took, which also differ every time.

So the files that must be the same for the same inputs do not hold it, and the report, which reads it, is.
"""

import os
import platform
from datetime import UTC, datetime

import numpy
import torch

import ngldm
from ngldm.io import processes

PACKAGES = (ngldm, torch, numpy)


def origin(device: torch.device) -> dict[str, str]:
    """The end of a stage, as text: `date` (UTC), `machine`, `python`, and the versions of `PACKAGES`.

    Args:
        device: on which it ran.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    count = f"{processes.size()} x " if processes.size() > 1 else ""
    machine = f"{count}{name}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}"
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    packages = {package.__name__: str(package.__version__) for package in PACKAGES}
    return {"date": date, "machine": machine, "python": platform.python_version(), **packages}
