"""Trainings of small networks have one thread; the environment can say another number."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from ngldm.io.threads import VARIABLES
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.machine import size
from ngldm.training.machine.size import operations
from ngldm.training.task import Split, Task


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that gives torch four threads, and an environment that asks for none."""
    before = torch.get_num_threads()
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def trained(seen: list[int]) -> dict[str, torch.Tensor]:
    """The weights and counts of a network with all that a step can change, after four steps."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.Dropout(0.3), nn.Conv2d(32, 3, 3))
    data = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    def loss(network: nn.Module, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return network(batch + torch.randn(batch.shape, generator=generator)).square().mean()

    config = FitConfig(max_steps=4, batch_size=32, log_every=2)
    for _ in fit(network, EMA(network, 0.9), Task(loss, Split.of(data)), config, seed=0):
        pass
    return {key: value.clone() for key, value in network.state_dict().items()}


def test_operations_are_those_of_convolutions_and_products() -> None:
    """Two for each weight and place where it is used, three times: forward, and backward for inputs and weights."""
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(5 * 8 * 8, 7))
    expected = 3 * 2 * 2 * (3 * 5 * 9 * 64 + 5 * 64 * 7)
    assert operations(network, lambda: network(torch.zeros(2, 3, 8, 8))) == expected


def test_a_large_network_begins_with_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "SMALL", 0.0)
    seen: list[int] = []
    trained(seen)
    assert seen[1:] == [4] * 4  # the first call counted


def test_a_small_network_trains_on_one_thread_whatever_the_machine_has() -> None:
    seen: list[int] = []
    four = trained(seen)
    assert seen[1:] == [1] * 4  # the first call counted
    assert torch.get_num_threads() == 4
    torch.set_num_threads(2)
    two = trained([])
    assert all(torch.equal(four[key], two[key]) for key in four)


@pytest.mark.parametrize(("variables", "count"), [({"NGLDM_THREADS": "3"}, 3), ({"OMP_NUM_THREADS": "9"}, 4)])
def test_the_environment_sets_the_number(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], count: int
) -> None:
    for key, value in variables.items():
        monkeypatch.setenv(key, value)  # torch itself has read OMP_NUM_THREADS at its start
    seen: list[int] = []
    trained(seen)
    assert seen == [count] * 4
    assert torch.get_num_threads() == 4
