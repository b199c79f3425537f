"""Precision and layout of a training: those of its settings or, with precision "auto", the fastest ones here.

A few steps of each are timed at the start. The choice is kept in torch's cache folder, by machine, network and batch,
so that all trainings of an experiment on a machine have the same one. Who sets both keys gets the same bits every time.
"""

import copy
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from ngldm.io import processes
from ngldm.io.device import random_generator
from ngldm.io.errors import InputError
from ngldm.io.files import entry, fingerprint, read_json, write_json
from ngldm.training.config import FitSettings
from ngldm.training.names import AUTO, LAYOUTS, PRECISIONS, check_precision
from ngldm.training.task import LossFunction

REPEATS = 3  # timed steps of each candidate, by turns, after one that is not timed
GAIN = 1.05  # how many times faster than float32 in channels_last another must be
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class Computation:
    """What a network is trained in.

    Attributes:
        precision: of the forward and backward pass, "fp32" or "bf16".
        layout: of weights and images in memory, "channels_last" or "contiguous".
    """

    precision: str
    layout: str

    def place(self, network: nn.Module, device: torch.device) -> None:
        """Move a network to the device, in the layout."""
        network.to(device, memory_format=FORMATS[self.layout])  # type: ignore[call-overload]

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


CANDIDATES = tuple(
    Computation(precision, layout) for precision in PRECISIONS if precision != AUTO for layout in LAYOUTS
)


@dataclass(frozen=True)
class Choice:
    """A computation, and how it came about.

    Attributes:
        said: a line for the user; None if the settings name the computation.
    """

    computation: Computation
    said: str | None = None


def choose(
    network: nn.Module, loss: LossFunction, batch: Callable[[], object], config: FitSettings, device: torch.device
) -> Choice:
    """The computation of a training. All processes get that of the main one.

    Args:
        batch: makes a batch, on the device, of as many items as a process takes at once.
    """
    check_precision(config.precision, config.layout, config.accumulate_steps)
    if config.precision != AUTO:
        return Choice(Computation(config.precision, config.layout))
    measured_on: dict[str, object] = {
        "machine": [platform.machine(), _processor(), torch.__version__, torch.get_num_threads(), processes.size()],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "network": {key: list(weight.shape) for key, weight in network.named_parameters()},
        "batch": [config.batch_size, config.accumulate_steps],
    }
    return processes.from_main(lambda: _kept(measured_on, lambda: measure(network, loss, batch(), device)))


def _kept(measured_on: dict[str, object], measured: Callable[[], dict[Computation, float]]) -> Choice:
    """The choice of an earlier training; if there is none, that of a measurement, which is then kept."""
    path = Path(torch.hub.get_dir()).parent / "ngldm" / f"{fingerprint(measured_on)[:16]}.json"
    with suppress(InputError):
        known = read_json(path)
        found = Computation(entry(known, "precision", str), entry(known, "layout", str))
        if found in CANDIDATES:
            return Choice(found, f"precision auto: {found.precision}, {found.layout}, as measured before ({path})")
    seconds = measured()
    found = fastest(seconds)
    with suppress(OSError, InputError):  # without a place to keep it, it is measured again the next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**asdict(found), "measured_on": measured_on})
    times = ", ".join(f"{one.precision} {one.layout} {1e3 * time:.3g} ms" for one, time in seconds.items())
    return Choice(found, f"precision auto: {found.precision}, {found.layout} ({times} a step)")


def fastest(seconds: dict[Computation, float]) -> Computation:
    """The computation with the fewest seconds; float32 in channels_last unless another is 5 % faster."""
    first, best = CANDIDATES[0], min(seconds, key=lambda one: seconds[one])
    return best if seconds[first] > GAIN * seconds[best] else first


def measure(network: nn.Module, loss: LossFunction, batch: object, device: torch.device) -> dict[Computation, float]:
    """Seconds of a forward and backward pass with each candidate: the least of some, taken by turns."""
    copies = {one: copy.deepcopy(network).train() for one in CANDIDATES}
    for one, clone in copies.items():
        one.place(clone, device)
    seconds = dict.fromkeys(CANDIDATES, float("inf"))
    for turn in range(REPEATS + 1):
        for one, clone in copies.items():
            start = time.perf_counter()
            with one.autocast(device):
                value = loss(clone, batch, random_generator(device, 0)).mean()
            value.backward()
            clone.zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                seconds[one] = min(seconds[one], time.perf_counter() - start)
    return seconds


def _processor() -> str:
    """The name of the CPU; Linux has it in a file, and `platform` often has not."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if os.access(file, os.R_OK) else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
