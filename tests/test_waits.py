"""The watch for what makes a CPU wait finds each kind of it, and nothing in what does not wait."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.waits import GPU, Generator, Waits


def found(call: Callable[[Tensor], object], inference: bool = False) -> list[str]:
    x = torch.zeros(3, 3, device=GPU)
    with Waits() as waits, torch.inference_mode(inference):
        call(x)
    return waits.found


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0, 0]),
        lambda x: bool((x > 0).all()),
        lambda x: int(x.argmax()),
        lambda x: 1.0 if x.isnan().any() else 0.0,
        lambda x: torch.equal(x, x),
        lambda x: torch.allclose(x, x),
        lambda x: x.cpu(),
        lambda x: x.cpu().numpy(),
        lambda x: x.tolist(),
        lambda x: torch.zeros(3).copy_(x[0]),
        lambda x: x.copy_(torch.zeros(3)),
        lambda x: torch.zeros(3).to(x),
        lambda x: torch.tensor(3.0, device=GPU),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.as_tensor([1.0], device=GPU),
        lambda x: x[[0, 1]],
        lambda x: x[torch.tensor([0])],
        lambda x: torch.where(x > 0, x, torch.tensor(0.0)),
        lambda x: torch.linalg.inv(x),
        lambda x: x.index_put_((x > 0,), x.flatten()),
    ],
)
def test_what_waits_is_found(call: Callable[[Tensor], object]) -> None:
    assert len(found(call)) == 1
    assert found(call, inference=True) == found(call)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x.unique_consecutive(),
        lambda x: x.repeat_interleave(torch.ones(3, dtype=torch.long, device=GPU), 0),
    ],
)
def test_a_result_whose_size_follows_from_numbers_is_refused(call: Callable[[Tensor], object]) -> None:
    """`meta` knows no such size: the test that uses the watch fails either way."""
    with pytest.raises((NotImplementedError, RuntimeError)):
        found(call)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: torch.randn(3, generator=Generator().manual_seed(0), device=GPU).clamp(min=0.1) * x + 1.0,
        lambda x: torch.zeros(3).to(GPU, non_blocking=True) + x,
        lambda x: x[torch.zeros(2, dtype=torch.long, device=GPU)],
        lambda x: x[1:, None].masked_fill(x[1:, None] > 0, 0.0),
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: x.double() + torch.tensor(2.0, dtype=torch.float64),  # a kernel takes a number of the CPU along
        lambda x: float(torch.ones(3).sum()),  # of the CPU itself
    ],
)
def test_what_does_not_wait_is_not(call: Callable[[Tensor], object]) -> None:
    assert found(call) == found(call, inference=True) == []
