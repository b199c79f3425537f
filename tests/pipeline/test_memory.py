"""Allocations that fail become one line; other errors stay what they are."""

import errno
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.pipeline.memory import enough_memory

CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 11.38 GiB is "
    "free. Including non-PyTorch memory, this process has 67.72 GiB memory in use."
)


def raises(error: Exception) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("allocate", "amount"),
    [
        (lambda: torch.empty(2**50), "it asked for 4096.0 TiB more"),
        (lambda: np.empty(2**50), "it asked for 8.00 PiB more"),
        (lambda: bytearray(2**60), "there is none left"),
        (raises(torch.OutOfMemoryError(CUDA)), "it asked for 20.00 GiB more, and the GPU has 11.38 GiB"),
        (raises(RuntimeError("std::bad_alloc")), "there is none left"),
        (raises(OSError(errno.ENOMEM, "Cannot allocate memory")), "there is none left"),
    ],
)
def test_an_allocation_that_fails_says_what_how_much_and_what_to_lower(
    allocate: Callable[[], object], amount: str
) -> None:
    with pytest.raises(InputError) as error, enough_memory("a step of train laplace", "train.batch_size"):
        allocate()
    assert str(error.value) == f"not enough memory for a step of train laplace: {amount}; lower train.batch_size"


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOSPC, "full"), ValueError("no")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error.args[-1])), enough_memory("x", "y"):
        raise error
