"""A bounded random sample of images that pass by: those with the smallest keys, as pixels in a file."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from ngldm.data.sources.pixels.npy import NpyAppender
from ngldm.io.images import UInt8Array


class Kept(NamedTuple):
    """An image of the sample.

    Attributes:
        key: a random number in [0, 1); the smallest are kept.
        place: numbers of the shard and of the record in it.
        slot: where its pixels are in the file.
        label: its class.
    """

    key: float
    place: tuple[int, int]
    slot: int
    label: int | str


@dataclass
class PixelSample:
    """The images with the smallest keys so far. Images of a shard count once `commit` was called.

    Args:
        path: file for the pixels; at most as many images as the capacity and one shard's candidates.
        shape: (H, W, C) of an image.
        capacity: the most images to keep; None keeps all.
    """

    path: Path
    shape: tuple[int, int, int]
    capacity: int | None

    def __post_init__(self) -> None:
        self.file = self.path.open("w+b")
        self.size = int(np.prod(self.shape))
        self._heap: list[tuple[float, Kept]] = []  # by the largest key
        self._pending: list[Kept] = []
        self._free: list[int] = []
        self._slots = 0

    def wants(self, key: float) -> bool:
        """Whether an image of this key would be kept, as far as is known."""
        return self.capacity is None or len(self._heap) < self.capacity or key < self._heap[0][1].key

    def add(self, key: float, place: tuple[int, int], image: UInt8Array, label: int | str) -> None:
        """Offer an image (H, W, C)."""
        slot = self._free.pop() if self._free else self._slots
        self._slots = max(self._slots, slot + 1)
        self.file.seek(slot * self.size)
        self.file.write(image.tobytes())
        self._pending.append(Kept(key, place, slot, label))

    def commit(self) -> None:
        """Let the images count that were added since the last commit."""
        for kept in self._pending:
            heapq.heappush(self._heap, (-kept.key, kept))
            if self.capacity is not None and len(self._heap) > self.capacity:
                self._free.append(heapq.heappop(self._heap)[1].slot)
        self._pending.clear()

    def forget(self) -> None:
        """Drop the images that were added since the last commit."""
        self._free += [kept.slot for kept in self._pending]
        self._pending.clear()

    def by_key(self) -> list[Kept]:
        """The images of the sample, the smallest key first."""
        return sorted(kept for _, kept in self._heap)

    def write(self, chosen: Sequence[Kept], path: Path) -> list[int | str]:
        """Write the pixels of some of them as a .npy file (n, H, W, C), in the order in which they passed by.

        Returns:
            Their labels, in the same order.
        """
        ordered = sorted(chosen, key=lambda one: one.place)
        with NpyAppender(path, self.shape) as array:
            for kept in ordered:
                self.file.seek(kept.slot * self.size)
                array.append(np.frombuffer(self.file.read(self.size), np.uint8).reshape(1, *self.shape))
        return [kept.label for kept in ordered]

    def __enter__(self) -> "PixelSample":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)
