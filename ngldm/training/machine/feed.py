"""How the batches of a training come to the device.

- A CPU gets each when it needs it: its latents are in memory, or memory-mapped.
- A GPU holds all latents if they take at most a quarter of its free memory. Then a step sends it indices alone.
- Else a thread reads the batch of the next step while this one runs, into pinned memory, from which the GPU copies
  without making the CPU wait.

The batches are the same each way.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.io.device import free_memory, pinned, sent
from ngldm.training.task import Batch, Fetch

Indices = Callable[[int], NDArray[np.int64]]  # the rows of a step's batch
SHARE = 0.25  # of a GPU's free memory that latents may take
CHUNK = 4096  # rows that are read at once


def _each(function: Callable[[Tensor], Tensor], batch: Batch) -> Batch:
    """A batch of what a function makes of each tensor."""
    from accelerate.utils import recursively_apply  # this import takes a second, and `--help` must not wait for it

    return cast(Batch, recursively_apply(function, batch))


class Direct(Generic[Batch]):
    """Reads each batch when it is asked for."""

    def __init__(self, indices: Indices, fetch: Fetch[Batch], device: torch.device) -> None:
        self.indices, self.fetch, self.device = indices, fetch, device

    def __call__(self, step: int) -> Batch:
        return _each(lambda x: x.to(self.device, non_blocking=True), self.fetch(self.indices(step)))


class Resident(Generic[Batch]):
    """Holds all rows on the device; they are read at the first step."""

    def __init__(self, indices: Indices, fetch: Fetch[Batch], rows: int, device: torch.device) -> None:
        self.indices, self.fetch, self.rows, self.device = indices, fetch, rows, device
        self.held: Batch | None = None

    def __call__(self, step: int) -> Batch:
        if self.held is None:
            self.held = self._read()
        index = sent(torch.from_numpy(self.indices(step)), self.device)
        return _each(lambda x: x[index], self.held)

    def _read(self) -> Batch:
        held = _each(
            lambda x: torch.empty(self.rows, *x.shape[1:], dtype=x.dtype, device=self.device), self._part(0, 1)
        )
        for start in range(0, self.rows, CHUNK):
            part, place = self._part(start, min(start + CHUNK, self.rows)), slice(start, start + CHUNK)
            for all_rows, some in zip(_tensors(held), _tensors(part), strict=True):
                all_rows[place] = some.to(self.device)
        return held

    def _part(self, start: int, stop: int) -> Batch:
        return self.fetch(np.arange(start, stop))


class Ahead(Generic[Batch]):
    """Reads the batch of the next step in a thread. What the thread raises is raised where that batch is asked for."""

    def __init__(self, indices: Indices, fetch: Fetch[Batch], device: torch.device) -> None:
        self.indices, self.fetch, self.device = indices, fetch, device
        self.pool = ThreadPoolExecutor(1, "ngldm-feed")
        self.coming: dict[int, Future[Batch]] = {}

    def __call__(self, step: int) -> Batch:
        coming = self.coming.pop(step, None)
        batch = coming.result() if coming else self._read(step)
        if step + 1 not in self.coming:
            self.coming = {step + 1: self.pool.submit(self._read, step + 1)}
        return _each(lambda x: x.to(self.device, non_blocking=True), batch)

    def _read(self, step: int) -> Batch:
        return _each(lambda x: pinned(x, self.device), self.fetch(self.indices(step)))


def _tensors(batch: object) -> list[Tensor]:
    """The tensors of a batch."""
    found: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        found.append(x)
        return x

    _each(note, batch)
    return found


def feed(indices: Indices, fetch: Fetch[Batch], rows: int, device: torch.device) -> Callable[[int], Batch]:
    """A function from a step to its whole batch, on the device.

    Args:
        indices: the rows of a step's batch, from the step alone.
        fetch: reads rows.
        rows: the number of all rows.
        device: of the training.
    """
    if device.type != "cuda":
        return Direct(indices, fetch, device)
    size = rows * sum(x.nbytes for x in _tensors(fetch(np.arange(1))))
    fits = size <= SHARE * free_memory(device)
    return Resident(indices, fetch, rows, device) if fits else Ahead(indices, fetch, device)
