"""Many processes that do the work of one: which of them this one is, and what they tell each other.

`ngldm.pipeline.many` starts them. Without it there is one process, and every function here does what one process
needs. All functions that speak to the others must be called by all processes, in the same order.

The engine is torch.distributed: NCCL for tensors on GPUs, gloo for all else. This module imports torch only when there
are others to speak to.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

from ngldm.io.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup, Store

T = TypeVar("T")
ROLL_CALL = 10.0  # seconds in which a process must answer, after a time-out, to count as alive
GPU_GRACE = 60.0  # seconds that NCCL waits longer: its time-out names nobody, so ours must come first


class LostProcess(RuntimeError):
    """Another process did not answer: it hangs, or it was killed."""


@dataclass
class _Group:
    """The processes, and the group that carries all but the tensors of GPUs."""

    rank: int = 0
    size: int = 1
    control: "ProcessGroup | None" = None
    store: "Store | None" = None
    seconds: float = 0.0


_group = _Group()


def start(seconds: float) -> None:
    """Join the processes that the environment names (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT).

    Args:
        seconds: how long a process waits for another, here and later.

    Raises:
        InputError: not all of them came in this time.
        LostProcess: the same, where torch's launcher starts them, which can do so again.
    """
    import torch
    import torch.distributed as dist

    gpu, came = torch.cuda.is_available(), f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    try:
        if os.environ["RANK"] != "0" or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            wait_for_host(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), seconds)
        store, rank, size = next(dist.rendezvous("env://", timeout=timedelta(seconds=seconds)))
        if (
            os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        ):  # else a restart would meet the addresses of the dead
            store = dist.PrefixStore(f"restart {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
        limit = timedelta(seconds=seconds + GPU_GRACE * gpu)
        dist.init_process_group(backend, timeout=limit, store=store, rank=rank, world_size=size)
        control = cast("ProcessGroup", dist.new_group(backend="gloo", timeout=timedelta(seconds=seconds)))
    except (OSError, RuntimeError) as error:  # also DistStoreError, DistNetworkError, DistBackendError
        fault = (
            f"WORLD_SIZE: {os.environ['WORLD_SIZE']} processes must meet at {came}, but not all of them came within "
            f"{seconds:g} s (NGLDM_TIMEOUT): {_first_line(error)}"
        )
        # torch's launcher has started all of them, so that one is missing only if it died on the way.
        raise (LostProcess if "TORCHELASTIC_RUN_ID" in os.environ else InputError)(fault) from error
    _group.rank, _group.size, _group.control, _group.store = rank, size, control, store
    _group.seconds = seconds


def wait_for_host(host: str, port: int, seconds: float) -> None:
    """Wait until a host answers at a port: torch would print its stack if none does.

    Raises:
        OSError: there is no such host, or it has not answered in this time.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), max(0.1, end - time.monotonic())).close()
            return
        except UnicodeError:
            raise OSError(f"{host!r} is no name of a host") from None
        except OSError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.2)


def stop() -> None:
    """Leave the others."""
    import torch.distributed as dist

    dist.destroy_process_group()
    _group.rank, _group.size, _group.control, _group.store = 0, 1, None, None


def size() -> int:
    """How many processes there are."""
    return _group.size


def rank() -> int:
    """Which of them this one is, from 0."""
    return _group.rank


def is_main() -> bool:
    """Whether this is the one that writes files, logs and draws bars."""
    return _group.rank == 0


def local_rank() -> int:
    """Which of the processes of this machine this one is, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0")) if size() > 1 else 0


def share(count: int) -> slice:
    """The part of `count` items that is this process's: as equal as possible, in the order of the processes."""
    return slice(count * _group.rank // _group.size, count * (_group.rank + 1) // _group.size)


@contextmanager
def _answered() -> Iterator[None]:
    """Turn a time-out of the block into a message that names who did not answer.

    Raises:
        LostProcess: another process hangs or was killed.
    """
    try:
        yield
    except RuntimeError as error:
        say(f"here {rank()}")
        end = time.monotonic() + ROLL_CALL
        silent = [str(other) for other in range(size()) if not heard(f"here {other}", max(0.1, end - time.monotonic()))]
        who = f"process {', '.join(silent)} of {size()} hangs or was lost" if silent else "the connection was lost"
        raise LostProcess(
            f"no answer from another process within {_group.seconds:g} s (NGLDM_TIMEOUT): {who}; {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def say(word: str) -> None:
    """Tell the others a word, which stays; see `heard`. Nobody may be left to hear it."""
    if _group.store:
        with suppress(RuntimeError):
            _group.store.set(word, "1")


def heard(word: str, seconds: float) -> bool:
    """Whether another process says a word within some seconds. It may be the last that this one hears of it."""
    try:
        if _group.store:
            _group.store.wait([word], timedelta(seconds=seconds))
    except RuntimeError:
        return False
    return _group.store is not None


def meet() -> None:
    """Wait until all processes are here.

    Raises:
        LostProcess: one of them did not come.
    """
    if size() > 1:
        import torch.distributed as dist

        with _answered():
            dist.barrier(_group.control)


def total(values: "Tensor") -> "Tensor":
    """The sum of a tensor over all processes, in its place. It has the same bits in each of them.

    Raises:
        LostProcess: one of them did not answer.
    """
    if size() > 1:
        import torch.distributed as dist

        with _answered():
            dist.all_reduce(values, group=None if values.is_cuda else _group.control)
    return values


def gather(value: T) -> list[T]:
    """What each process has, in their order.

    Raises:
        LostProcess: one of them did not answer.
    """
    if size() == 1:
        return [value]
    import torch.distributed as dist

    found: list[T | None] = [None] * size()
    with _answered():
        dist.all_gather_object(found, value, _group.control)
    return cast(list[T], found)


def from_main(make: Callable[[], T]) -> T:
    """What the main process makes, for all. The others need not have the files that it reads.

    Raises:
        InputError: `make` raised it.
        LostProcess: the main process did not answer.
    """
    if size() == 1:
        return make()
    import torch.distributed as dist

    found = [_tried(make) if is_main() else None]
    with _answered():
        dist.broadcast_object_list(found, 0, _group.control)
    return cast(_Outcome[T], found[0]).get()


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    """A result, or the message of an `InputError`."""

    value: T | None = None
    fault: str | None = None

    def get(self) -> T:
        if self.fault is not None:
            raise InputError(self.fault)
        return cast(T, self.value)


def _tried(make: Callable[[], T]) -> _Outcome[T]:
    try:
        return _Outcome(make())
    except InputError as error:
        return _Outcome(fault=str(error))


class Kept(Protocol[T]):
    """Where parts that are done are kept, on the main process's disk."""

    def done(self) -> Iterable[int]:
        """The numbers of the parts that it has."""
        ...

    def read(self, part: int) -> T: ...
    def write(self, part: int, content: T) -> None: ...


def spread(count: int, make: Callable[[int], T], kept: Kept[T] | None = None) -> Iterator[T]:
    """make(0) to make(count - 1), in this order, each made by one of the processes.

    Only the main process gets them; the others make theirs and get nothing. A part is the same whoever makes it, so
    the result does not depend on the number of processes.

    Args:
        count: the number of parts.
        make: makes a part from its number. It must not speak to other processes.
        kept: parts that are kept there are not made again, so that a run that was stopped loses at most one part of
            each process.

    Raises:
        InputError: `make` raised it, in any process.
        LostProcess: a process did not answer.
    """
    done = set(from_main(lambda: list(kept.done()))) if kept else set()
    todo, next_part = [part for part in range(count) if part not in done], 0
    for first in range(0, len(todo), size()):
        now = todo[first : first + size()]
        own = _tried(lambda now=now: make(now[rank()])) if rank() < len(now) else None  # type: ignore[misc]
        for part, outcome in zip(now, _to_main(own), strict=False):
            content = cast(_Outcome[T], outcome).get()
            if kept:
                kept.write(part, content)
                yield from map(kept.read, range(next_part, part))
            yield content
            next_part = part + 1
    if kept and is_main():
        yield from map(kept.read, range(next_part, count))


def _to_main(value: T) -> list[T]:
    """What each process has, for the main process; [] for the others."""
    if size() == 1:
        return [value]
    import torch.distributed as dist

    found: list[T | None] | None = [None] * size() if is_main() else None
    with _answered():
        dist.gather_object(value, found, 0, _group.control)
    return cast(list[T], found or [])
