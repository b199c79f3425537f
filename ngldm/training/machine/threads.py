"""How many threads a training on a CPU has.

- A small network trains on one thread. A second gains little: its threads wait for each other after each layer, and if
  another process takes one of the cores, both stand still most of the time. So its weights do not depend on the number
  of cores either.
- A larger one has all threads. After its first steps, and if steps take much longer than the fastest one, fewer are
  tried, and later all again. The number changes the weights by rounding alone.

The variable NGLDM_THREADS, or OMP_NUM_THREADS, sets the number once and for all.
"""

import os
import statistics
import time
from collections import deque
from collections.abc import Callable

import torch
from torch import nn

from ngldm.io.errors import InputError

VARIABLES = ("NGLDM_THREADS", "OMP_NUM_THREADS")
SMALL = 4e9  # operations of a step, forward and backward: about 50 ms of one core
SLOW = 2.0  # so many times as long as the fastest step takes a step that looks disturbed
GAIN = 1.2  # fewer threads must be so many times as fast, so that chance alone does not choose them
STEPS = 5  # whose median is looked at
PAUSE = 50  # steps between two trials


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


class Threads:
    """The number of threads while the block runs. Before and after it torch has the number that it had.

    Args:
        probe: computes the gradients of one step, and leaves the training as it is.
        say: called with a line for the user.
    """

    def __init__(self, probe: Callable[[], object], say: Callable[[str], object] = lambda line: None) -> None:
        self.probe, self.say, self.most, self.follows = probe, say, torch.get_num_threads(), False
        self.recent: deque[float] = deque(maxlen=STEPS)
        self.best, self.since, self.unsure = float("inf"), PAUSE - STEPS, True

    def begin(self, network: nn.Module) -> None:
        """Choose the number for a network, before its first step."""
        if (fixed := fixed_threads()) is not None:
            torch.set_num_threads(fixed)
        elif self.most > 1:
            self.follows = operations(network, self.probe) >= SMALL
            if not self.follows:
                torch.set_num_threads(1)

    def end(self) -> None:
        torch.set_num_threads(self.most)

    def took(self, seconds: float) -> None:
        """Hear how long a step took, and try another number if it seems worth it."""
        if not self.follows:
            return
        self.recent.append(seconds)
        self.best, self.since = min(self.best, seconds), self.since + 1
        if self.since < PAUSE:
            return
        now, usual = torch.get_num_threads(), statistics.median(self.recent)
        if now > 1 and (self.unsure or usual > SLOW * self.best):
            self._try(now // 2, usual, GAIN)
        elif now < self.most:
            self._try(self.most, usual, 1.0)

    def _try(self, other: int, usual: float, gain: float) -> None:
        """Take the other number of threads if a step with it is more than `gain` times as fast as usual."""
        now, seconds = torch.get_num_threads(), self._seconds(other)
        self.since, self.unsure = 0, False
        if seconds * gain >= usual:
            torch.set_num_threads(now)
            return
        self.recent.clear()
        self.best = seconds
        if other > now:  # a single step may be fast by chance: look again soon
            self.since = PAUSE - STEPS
        self.say(f"trains on {other} threads, before on {now}: a step took {usual:.2g} s, now {seconds:.2g} s")

    def _seconds(self, threads: int) -> float:
        """Seconds of a step. The first one with a number is not timed: oneDNN makes its kernels anew."""
        torch.set_num_threads(threads)
        self.probe()
        start = time.perf_counter()
        self.probe()
        return time.perf_counter() - start
