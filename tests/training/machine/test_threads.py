"""Threads of a training: few for small networks, what the environment says, and free cores for large ones."""

import os
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from ngldm.io.errors import InputError
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.machine import threads
from ngldm.training.machine.threads import Clocks, Threads, operations
from ngldm.training.task import Split, Task


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that gives torch four threads, and an environment that asks for none."""
    before = torch.get_num_threads()
    for variable in threads.VARIABLES:
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


@pytest.mark.parametrize("value", ["0", "-1", "two", "99999"])
def test_a_bad_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NGLDM_THREADS", value)
    with pytest.raises(InputError, match=r"NGLDM_THREADS: .* must be a whole number, 1 to 1024"):
        trained([])


class Machine:
    """Cores with other work on them, and a training that spends time there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cores: int = 4) -> None:
        self.cores, self.others, self.clocks = cores, 0.0, Clocks(0.0, 0.0, 0.0, 0.0)
        monkeypatch.setattr(threads.time, "perf_counter", lambda: self.clocks.now)
        monkeypatch.setattr(Clocks, "read", lambda: self.clocks)
        monkeypatch.setattr(threads, "SMALL", 0.0)
        self.lines: list[str] = []
        self.threads = Threads(lambda: None, self.lines.append)
        self.threads.begin(nn.Identity())

    def train(self, seconds: int) -> int:
        """Steps of half a second, in which each thread and each other process wants a core."""
        for _ in range(2 * seconds):
            count = torch.get_num_threads()
            share = min(1.0, self.cores / (count + self.others))  # of a core that each of them gets
            spent = 0.5 * share * np.array([count, self.others])
            self.clocks = Clocks(
                self.clocks.now + 0.5,
                self.clocks.own + spent[0],
                self.clocks.idle + 0.5 * self.cores - spent.sum(),
                self.clocks.counted + 0.5 * self.cores,
            )
            self.threads.look()
        return torch.get_num_threads()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_an_idle_machine_uses_all(machine: Machine) -> None:
    assert machine.train(100) == 4
    assert machine.lines == []


def test_the_number_follows_the_cores_that_others_use(machine: Machine) -> None:
    for others, expected in ((1, 3), (0, 4), (3, 2), (0, 4), (0.2, 4)):
        machine.others = others
        assert machine.train(20) == expected
    assert machine.lines[0] == "trains on 3 threads, before on 4: 3.2 cores are free of other work"
    assert machine.train(100) == 4


def test_the_number_stays_while_nothing_changes(machine: Machine) -> None:
    for others in (0.3, 0.6, 1, 1.5, 2.4, 5):
        machine.others = others
        machine.train(30)
        machine.lines.clear()
        machine.train(30)
        assert machine.lines == []


def test_of_two_cores_one_is_left_to_a_busy_process(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    machine = Machine(monkeypatch, cores=2)
    machine.others = 1
    assert machine.train(3) == 1
    machine.others = 0
    assert machine.train(6) == 2


def test_clocks_of_cores_that_stand_still_change_nothing(machine: Machine) -> None:
    for second in range(10):
        machine.clocks = Clocks(float(second), 0.1 * second, 0.0, 0.0)
        machine.threads.look()
    assert torch.get_num_threads() == 4


def test_the_clocks_are_those_of_this_machine() -> None:
    """A process that computes for a while uses a core, and finds no more free ones than there are."""
    before = Clocks.read()
    while time.process_time() < before.own + 0.2:
        sum(range(1000))
    after = Clocks.read()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    seconds = after.now - before.now
    free = after.free_since(before)
    assert free is not None
    assert 0.2 / seconds - 0.05 < free < cores + 1 + 0.1 * cores / seconds  # the kernel counts in hundredths
