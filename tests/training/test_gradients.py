"""Gradients of a step: those of its mean loss, whatever was computed before, and in parts as in one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ngldm.training.config import FitConfig
from ngldm.training.gradients import Gradients, first_part
from ngldm.training.machine.choice import Computation
from ngldm.training.task import Split, Task

CPU = torch.device("cpu")
ROWS = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))


def loss(network: nn.Module, batch: Tensor, generator: torch.Generator, part: slice = slice(None)) -> Tensor:
    noise = torch.randn(len(batch), 1, generator=generator)
    return (network(batch[part]) - noise[part]).square().mean(1)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))


@pytest.fixture
def found(network: nn.Module) -> Callable[..., list[Tensor]]:
    """The gradients of a step, after those of others were computed and forgotten."""
    gradients = Gradients(Task(loss, Split.of(ROWS)), 12, 5, CPU, Computation("fp32", "contiguous"))

    def find(step: int, parts: int = 1) -> list[Tensor]:
        network.zero_grad()
        losses = gradients.add(network, step, parts)
        assert len(losses) == parts
        return [sum(losses, torch.tensor(0.0)), *(parameter.grad.clone() for parameter in network.parameters())]

    return find


def test_a_step_has_the_same_gradients_whatever_came_before(found: Callable[..., list[Tensor]]) -> None:
    first = found(3)
    other = found(4)
    assert all(torch.equal(one, again) for one, again in zip(first, found(3), strict=True))
    assert not any(torch.equal(one, again) for one, again in zip(first, other, strict=True))


@pytest.mark.parametrize("parts", [2, 3, 12])
def test_parts_add_up_to_the_whole_batch(found: Callable[..., list[Tensor]], parts: int) -> None:
    for whole, added in zip(found(3), found(3, parts), strict=True):
        torch.testing.assert_close(added, whole)


def test_a_training_on_few_items_can_be_tried_with_a_large_batch() -> None:
    split = Split.of(ROWS[:5])
    assert torch.equal(first_part(split, FitConfig(batch_size=12), CPU), ROWS[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]])
    assert len(first_part(split, FitConfig(batch_size=12, accumulate_steps=3), CPU)) == 4
