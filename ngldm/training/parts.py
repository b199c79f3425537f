"""A batch in parts: over processes, and one after another. What is learned is the same, up to rounding.

Everything random is drawn for the whole batch, and each process takes its rows. The gradient of a part is weighted by
the part's share of the batch, and the sum over all parts is the gradient of the batch.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ngldm.io import processes
from ngldm.io.errors import InputError


def own_parts(batch_size: int, accumulate_steps: int) -> list[slice]:
    """The parts of the batch that are this process's: `accumulate_steps` of them.

    Raises:
        InputError: the batch cannot be split into parts of one size.
    """
    count = processes.size() * accumulate_steps
    if batch_size % count:
        sizes = [n for n in range(1, batch_size + 1) if batch_size % (n * accumulate_steps) == 0]
        each = f" in {accumulate_steps} steps each (accumulate_steps)" if accumulate_steps > 1 else ""
        fitting = (
            f"with {', '.join(map(str, sizes))}" if sizes else "with no number of processes; lower accumulate_steps"
        )
        raise InputError(
            f"batch_size: {batch_size} cannot be split equally over {processes.size()} processes{each}; "
            f"it can {fitting} (NGLDM_PROCESSES says how many there are)"
        )
    length, first = batch_size // count, processes.rank() * accumulate_steps
    return [slice(part * length, (part + 1) * length) for part in range(first, first + accumulate_steps)]


def check_takes_part(loss: Callable[..., Tensor]) -> None:
    """Check that a loss can be asked for a part of its batch.

    Raises:
        InputError: it has no fourth argument.
    """
    if len(inspect.signature(loss).parameters) < 4:
        raise InputError(
            "loss: takes no part of a batch; with several processes or accumulate_steps above 1 it must be "
            "loss(network, batch, generator, part): it draws for the whole batch and returns the loss of batch[part]"
        )


class _WholeDropout(TorchFunctionMode):
    """Dropout of a part of a batch with the mask of the whole batch's rows."""

    def __init__(self, batch_size: int, part: slice) -> None:
        super().__init__()
        self.batch_size, self.part = batch_size, part

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is not F.dropout:
            return func(*args, **(kwargs or {}))
        bound = inspect.signature(F.dropout).bind(*args, **(kwargs or {}))
        bound.apply_defaults()
        x, p, training = bound.arguments["input"], bound.arguments["p"], bound.arguments["training"]
        if not training or p == 0.0:
            return x
        flat = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)  # a mask is drawn in memory's order
        layout = torch.channels_last if flat else torch.contiguous_format
        ones = torch.ones(self.batch_size, *x.shape[1:], dtype=x.dtype, device=x.device).contiguous(
            memory_format=layout
        )
        return x * F.dropout(ones, p)[self.part]


@contextmanager
def dropout_of(batch_size: int, part: slice) -> Iterator[None]:
    """Within the block, dropout draws for the whole batch, of which the network sees a part."""
    with _WholeDropout(batch_size, part):
        yield


def add_up(network: nn.Module, loss: Tensor) -> Tensor:
    """Sum the gradients of all processes, in place, and the loss (), which is returned. One message carries all."""
    if processes.size() == 1:
        return loss
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    flat = processes.total(torch.cat([*(gradient.reshape(-1) for gradient in gradients), loss.reshape(1)]))
    pieces = flat.split([*(gradient.numel() for gradient in gradients), 1])
    for gradient, piece in zip(gradients, pieces, strict=False):
        gradient.copy_(piece.view_as(gradient))
    return cast(Tensor, pieces[-1][0])
