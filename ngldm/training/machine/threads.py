"""How many threads a training on a CPU has.

- A small network trains on one thread. A second gains little: its threads wait for each other after each layer, and if
  another process takes one of the cores, both stand still most of the time. So its weights do not depend on the number
  of cores either.
- A larger one has as many threads as there are cores that no other process uses. It looks every few seconds. The number
  changes the weights by rounding alone.

The variable NGLDM_THREADS, or OMP_NUM_THREADS, sets the number once and for all.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from ngldm.io.errors import InputError

VARIABLES = ("NGLDM_THREADS", "OMP_NUM_THREADS")
SMALL = 4e9  # operations of a step, forward and backward: about 50 ms of one core
EVERY = 2.0  # seconds between two looks at the cores
TAKEN = 0.5  # of a core, in the mean: so much must others use before a thread is given up
FREE = 0.75  # of a core: so much must be free before a thread is added


def fixed_threads() -> int | None:
    """The number of threads that the environment asks for; None if it asks for none.

    Raises:
        InputError: NGLDM_THREADS is no whole number above 0.
    """
    own, openmp = (os.environ.get(variable) for variable in VARIABLES)
    if own:
        if not own.isdecimal() or not 1 <= int(own) <= 1024:
            raise InputError(f"NGLDM_THREADS: {own!r} must be a whole number, 1 to 1024")
        return int(own)
    return torch.get_num_threads() if openmp else None


def operations(network: nn.Module, probe: Callable[[], object]) -> float:
    """Additions and multiplications of the network's layers with weights, forward and backward, in one call of `probe`.

    Backward counts twice: for the inputs' gradients and the weights'. Products without weights, as of attention, do not
    count.
    """
    found = 0.0

    def count(layer: nn.Module, inputs: object, output: object) -> None:
        nonlocal found
        weight = getattr(layer, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.dim() > 1 and isinstance(output, torch.Tensor):
            outputs = getattr(layer, "out_channels", weight.shape[0])
            found += 3 * 2 * weight.numel() * output.numel() / outputs

    handles = [layer.register_forward_hook(count) for layer in network.modules()]
    try:
        probe()
    finally:
        for handle in handles:
            handle.remove()
    return found


@dataclass(frozen=True)
class Clocks:
    """What the clocks of this process and of its cores say, in seconds.

    Attributes:
        now: on the clock.
        own: of processor time that this process had, in all threads.
        idle: in which the cores that this process may use did nothing, all cores together.
        counted: in all that the cores did, idle or not.
    """

    now: float
    own: float
    idle: float
    counted: float

    @classmethod
    def read(cls) -> "Clocks":
        cores = psutil.cpu_times(percpu=True)
        if hasattr(os, "sched_getaffinity"):
            cores = [cores[index] for index in os.sched_getaffinity(0) if index < len(cores)]
        idle = sum(core.idle + getattr(core, "iowait", 0.0) for core in cores)
        return cls(time.perf_counter(), time.process_time(), idle, sum(sum(core) for core in cores))

    def free_since(self, before: "Clocks") -> float | None:
        """How many cores this process used or could have used since then; None if the cores' clocks stand still."""
        seconds = self.now - before.now
        if self.counted - before.counted < seconds / 2:
            return None
        return (self.own - before.own + self.idle - before.idle) / seconds


class Threads:
    """The number of threads while the block runs. Before and after it torch has the number that it had.

    Args:
        probe: computes the gradients of one step, and leaves the training as it is.
        say: called with a line for the user.
    """

    def __init__(self, probe: Callable[[], object], say: Callable[[str], object] = lambda line: None) -> None:
        self.probe, self.say, self.most = probe, say, torch.get_num_threads()
        self.before: Clocks | None = None

    def begin(self, network: nn.Module) -> None:
        """Choose the number for a network, before its first step."""
        if (fixed := fixed_threads()) is not None:
            torch.set_num_threads(fixed)
        elif self.most > 1:
            if operations(network, self.probe) < SMALL:
                torch.set_num_threads(1)
            else:
                self.before = Clocks.read()

    def end(self) -> None:
        torch.set_num_threads(self.most)

    def look(self) -> None:
        """After a step: follow the number of free cores, if it is time to look at them."""
        if self.before is None or time.perf_counter() < self.before.now + EVERY:
            return
        clocks, now = Clocks.read(), torch.get_num_threads()
        free = clocks.free_since(self.before)
        self.before = clocks
        if free is None:
            return
        fewer, more = max(1, int(free + TAKEN)), min(self.most, int(free + 1 - FREE))
        number = fewer if free < now - TAKEN else max(now, more)
        if number != now:
            torch.set_num_threads(number)
            self.say(f"trains on {number} threads, before on {now}: {free:.2g} cores are free of other work")
