"""How many threads torch computes with on a CPU: what the environment says, else as many as there are free cores.

Threads of one computation wait for each other after each layer. If another process takes one of the cores, all of them
stand still most of the time: two threads on two cores then do a tenth of what one would do.

The variable NGLDM_THREADS, or OMP_NUM_THREADS, sets the number once and for all. Torch is imported only when called.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from ngldm.io.errors import InputError

VARIABLES = ("NGLDM_THREADS", "OMP_NUM_THREADS")
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
    return _number() if openmp else None


def _number() -> int:
    import torch

    return torch.get_num_threads()


def _set_number(number: int) -> None:
    import torch

    torch.set_num_threads(number)


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
    """Torch's number of threads while something is computed. `end` gives back the number that torch had before.

    Args:
        say: called with a line for the user when the number follows the free cores.
    """

    def __init__(self, say: Callable[[str], object] = lambda line: None) -> None:
        self.say, self.most = say, _number()
        self.before: Clocks | None = None

    def begin(self, small: Callable[[], bool] = lambda: False) -> None:
        """Take the number of the environment, else one thread for a `small` computation, else all until `look`.

        Raises:
            InputError: NGLDM_THREADS is no whole number above 0.
        """
        if (fixed := fixed_threads()) is not None:
            _set_number(fixed)
        elif self.most > 1:
            if small():
                _set_number(1)
            else:
                self.before = Clocks.read()

    def end(self) -> None:
        _set_number(self.most)

    def look(self) -> None:
        """After a step: follow the number of free cores, if it is time to look at them."""
        if self.before is None or time.perf_counter() < self.before.now + EVERY:
            return
        clocks, now = Clocks.read(), _number()
        free = clocks.free_since(self.before)
        self.before = clocks
        if free is None:
            return
        fewer, more = max(1, int(free + TAKEN)), min(self.most, int(free + 1 - FREE))
        number = fewer if free < now - TAKEN else max(now, more)
        if number != now:
            _set_number(number)
            self.say(f"computes on {number} threads, before on {now}: {free:.2g} cores are free of other work")
