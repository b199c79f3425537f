"""Steps that are computed to see what they take, and are then forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ngldm.training.gradients import Gradients
from ngldm.training.machine.fitting import fewest_parts
from ngldm.training.parts import check_takes_part, own_parts
from ngldm.training.task import Batch


def probe(gradients: Gradients[Batch], network: nn.Module, step: int, parts: int) -> None:
    """Compute the gradients of a step, for their time, and forget them."""
    with _forgotten(network):
        gradients.add(network, step, parts)


def parts_that_fit(gradients: Gradients[Batch], network: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> int:
    """In how many parts a batch is taken, so that a step fits the memory: as few as possible."""

    def attempt(parts: int) -> None:
        """Use as much memory as a step does: two parts, for the gradient of one waits for the next."""
        if parts > 1:
            check_takes_part(gradients.task.loss)
        moments = [] if optimizer.state else [torch.empty_like(p) for p in network.parameters() for _ in "12"]
        with _forgotten(network):
            batch = gradients.batch(step)
            for part in own_parts(gradients.batch_size, parts)[:2]:
                gradients.add_part(network, step, batch, part)
        del moments

    return fewest_parts(gradients.batch_size, gradients.device, attempt)


@contextmanager
def _forgotten(network: nn.Module) -> Iterator[None]:
    """Undo what the block does: gradients, and what layers have counted."""
    kept = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        network.zero_grad(set_to_none=True)
        for buffer, before in zip(network.buffers(), kept, strict=True):
            buffer.copy_(before)
