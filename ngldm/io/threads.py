"""How many threads torch computes with on a CPU: what the environment says, else as many as there are free cores.

Threads of one computation wait for each other after each layer. If another process takes one of the cores, all of them
stand still most of the time: two threads on two cores then do a tenth of what one would do.

The variable NGLDM_THREADS, or OMP_NUM_THREADS, sets the number once and for all. Torch is imported only when called.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

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


class Look(NamedTuple):
    """What this process found when it last looked at the cores.

    Attributes:
        clocks: at that moment.
        free: cores that it used or could have used since the look before.
        number: of threads that are right for so many.
    """

    clocks: Clocks
    free: float
    number: int

    def next(self) -> "Look":
        """What is found now."""
        clocks = Clocks.read()
        free = clocks.free_since(self.clocks)
        if free is None:
            return self._replace(clocks=clocks)
        fewer, more = max(1, int(free + TAKEN)), int(free + 1 - FREE)
        return Look(clocks, free, fewer if free < self.number - TAKEN else max(self.number, more))


class Threads:
    """Torch's number of threads while something is computed. `end` gives back the number that torch had before.

    All computations of a process share the last look at the cores. So one of less than `EVERY` seconds profits from
    those before it, and one within another one does as that does. Two by turns may end in any order.

    Args:
        say: called with a line for the user when the number follows the free cores.
    """

    last: ClassVar[Look | None] = None
    own: ClassVar[threading.local] = threading.local()  # torch has a number of threads for each thread of Python

    def __init__(self, say: Callable[[str], object] = lambda line: None) -> None:
        self.say, self.most = say, _number()
        self.follows = False
        self.begun: list[Threads] = Threads.own.__dict__.setdefault("begun", [])  # and not ended, in their order
        self.begun.append(self)

    def begin(self, small: Callable[[], bool] = lambda: False) -> None:
        """Take the number of the environment, else one thread for a `small` computation, else that of the free cores.

        The first computation of a process does not know them, and takes all.

        Raises:
            InputError: NGLDM_THREADS is no whole number above 0.
        """
        if (fixed := fixed_threads()) is not None:
            _set_number(fixed)
        elif self.most > 1:
            if small():
                _set_number(1)
            else:
                self.follows = True
                self.look()

    def end(self) -> None:
        if self not in self.begun:
            return
        place = self.begun.index(self)
        del self.begun[place]
        if later := self.begun[place:]:
            later[0].most = self.most  # which has seen only the number of this one
        else:
            _set_number(self.most)

    def look(self) -> None:
        """After a step: follow the number of free cores, if it is time to look at them."""
        if not self.follows:
            return
        last = Threads.last or Look(Clocks.read(), self.most, self.most)
        if time.perf_counter() >= last.clocks.now + EVERY:
            last = last.next()
        Threads.last = last
        free, number, now = last.free, min(self.most, last.number), _number()
        if number != now:
            _set_number(number)
            self.say(f"computes on {number} threads, before on {now}: {free:.2g} cores are free of other work")


@contextmanager
def following_free_cores(
    small: Callable[[], bool] = lambda: False, say: Callable[[str], object] = lambda line: None
) -> Iterator[Callable[[], None]]:
    """While the block computes, as many threads as there are free cores.

    What is yielded is to be called after each step of a block that takes longer than `EVERY` seconds.

    Args:
        small: whether the computation is so small that one thread does it best.
        say: called with a line for the user when the number follows the free cores.

    Raises:
        InputError: NGLDM_THREADS is no whole number above 0.
    """
    threads = Threads(say)
    try:
        threads.begin(small)
        yield threads.look
    finally:
        threads.end()
