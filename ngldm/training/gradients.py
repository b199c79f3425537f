"""The gradients of one step of a training. They follow from the weights and from (seed, step) alone."""

from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ngldm.io.device import Computation, random_generator
from ngldm.training.config import FitSettings
from ngldm.training.machine.feed import feed
from ngldm.training.parts import dropout_of, own_parts
from ngldm.training.seeds import batch_indices, batch_sides, stream_seed
from ngldm.training.task import Batch, Split, Task, send


def first_part(train: Split[Batch], config: FitSettings, device: torch.device) -> Batch:
    """As many items as a process takes at once, on the device."""
    part = own_parts(config.batch_size, config.accumulate_steps or 1)[0]
    return send(train.fetch(np.arange(part.stop - part.start) % (train.size * train.sides)), device)


class Gradients(Generic[Batch]):
    """Computes the gradients of a training's steps.

    Args:
        task: loss and data.
        batch_size: items of a whole batch.
        seed: of the training.
        device: where it computes.
        computation: precision and layout.
    """

    def __init__(
        self, task: Task[Batch], batch_size: int, seed: int, device: torch.device, computation: Computation
    ) -> None:
        self.task, self.batch_size, self.seed = task, batch_size, seed
        self.device, self.computation = device, computation
        train = task.train
        self.batch = feed(self._indices, train.fetch, train.size * train.sides, device)  # of a step, the whole batch

    def _indices(self, step: int) -> NDArray[np.int64]:
        """The rows of a step's batch."""
        train = self.task.train
        indices = batch_indices(train.size, self.batch_size, self.seed, step)
        if train.sides > 1:
            indices = train.sides * indices + batch_sides(self.batch_size, train.sides, self.seed, step)
        return indices

    def add(self, network: nn.Module, step: int, parts: int) -> list[Tensor]:
        """Add the gradients of this process's `parts` parts of a step's batch. Returns what `add_part` returns."""
        batch = self.batch(step)
        return [self.add_part(network, step, batch, part) for part in own_parts(self.batch_size, parts)]

    def add_part(self, network: nn.Module, step: int, batch: Batch, part: slice) -> Tensor:
        """Add the gradient of a part of the batch. Returns the part's share of the batch's mean loss, ()."""
        size = self.batch_size
        torch.manual_seed(stream_seed(self.seed, "dropout", step))
        generator = random_generator(self.device, stream_seed(self.seed, "step", step))
        with self.computation.autocast(self.device):
            if part == slice(0, size):
                loss = self.task.loss(network, batch, generator).mean()
            else:
                with dropout_of(size, part):
                    loss = self.task.loss(network, batch, generator, part).mean() * ((part.stop - part.start) / size)
        loss.backward()
        return loss.detach()
