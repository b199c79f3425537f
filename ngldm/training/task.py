"""What a training learns: data, by the indices of their rows, and a loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.io.items import Rows

Batch = TypeVar("Batch")  # a tensor, or a tuple of tensors
LossFunction = Callable[..., Tensor]  # (network, batch, generator) -> () or (B,); all on one device; see `Task`
Fetch = Callable[[NDArray[np.int64]], Batch]  # indices -> batch, on the CPU


@dataclass(frozen=True)
class Split(Generic[Batch]):
    """Data to train on or to evaluate.

    Attributes:
        size: number of items.
        fetch: gets rows by their indices. Item i has the rows `sides` i to `sides` i + `sides` - 1.
        sides: rows of each item, of which training draws one each time, for example an image and its mirror image.
    """

    size: int
    fetch: Fetch[Batch]
    sides: int = 1

    @staticmethod
    def of(rows: Tensor | Rows, sides: int = 1) -> "Split[Tensor]":
        """The rows (N, ...) of a tensor, of an array, which may be memory-mapped, or of shards."""
        if isinstance(rows, Tensor):
            return Split(len(rows) // sides, lambda index: rows[torch.from_numpy(index)], sides)
        return Split(len(rows) // sides, lambda index: torch.from_numpy(rows[index]), sides)

    @staticmethod
    def labelled(rows: Tensor | Rows, labels: NDArray[np.int64], sides: int = 1) -> "Split[tuple[Tensor, Tensor]]":
        """Rows with the labels (N,) of their items, for a loss whose batch is both.

        Raises:
            InputError: not as many labels as items.
        """
        if len(labels) * sides != len(rows):
            raise InputError(f"labels: {len(labels)} for {len(rows) // sides} items; there must be one for each")
        plain = Split.of(rows, sides)
        return Split(plain.size, lambda row: (plain.fetch(row), torch.from_numpy(labels[row // sides])), sides)


@dataclass(frozen=True)
class Task(Generic[Batch]):
    """A loss, and the data to learn from.

    Attributes:
        loss: loss(network, batch, generator) -> () or (B,), on the batch's device. It draws everything random from the
            generator. `Diffusion.loss` is such a loss. Several processes, or `accumulate_steps` above 1, also give it a
            `part`, a slice: it draws for the whole batch, and returns the loss of the items batch[part] alone.
        train: the training data.
        heldout: the data on which the averaged weights are evaluated; None evaluates nothing.
    """

    loss: LossFunction
    train: Split[Batch]
    heldout: Split[Batch] | None = None


def send(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on the device, all its tensors."""
    from accelerate.utils import send_to_device  # this import takes a second, and `--help` must not wait for it

    return cast(Batch, send_to_device(batch, device, non_blocking=True))
