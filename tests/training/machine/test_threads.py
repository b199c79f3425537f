"""Threads of a training: few for small networks, what the environment says, and what is faster for large ones."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from ngldm.io.errors import InputError
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.machine import threads
from ngldm.training.machine.threads import Threads, operations
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


def test_comparing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large network that keeps its threads ends with the same bits as if nothing had been compared."""
    monkeypatch.setattr(threads, "SMALL", 0.0)
    monkeypatch.setattr(threads, "GAIN", float("inf"))
    monkeypatch.setattr(threads, "PAUSE", 5)
    monkeypatch.setattr(threads, "STEPS", 2)
    seen: list[int] = []
    compared = trained(seen)
    assert seen == [4, 4, 4, 2, 2, 4, 4]  # one call counts, and after two steps there is a trial
    monkeypatch.setenv("NGLDM_THREADS", "4")
    plain = trained([])
    assert all(torch.equal(compared[key], plain[key]) for key in plain)


class Machine:
    """A clock, and steps whose seconds depend on the number of threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> None:
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr(threads.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(threads, "SMALL", 0.0)
        self.lines: list[str] = []
        self.threads = Threads(self.step, self.lines.append)
        self.threads.begin(nn.Identity())

    def step(self) -> None:
        self.now += self.seconds[torch.get_num_threads()]

    def train(self, steps: int) -> int:
        for _ in range(steps):
            start = self.now
            self.step()
            self.threads.took(self.now - start)
        return torch.get_num_threads()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, float]], Machine]:
    return lambda seconds: Machine(monkeypatch, seconds)


IDLE, BUSY = {4: 1.0, 2: 1.8, 1: 3.4}, {4: 9.0, 2: 5.0, 1: 3.5}


def test_an_idle_machine_uses_all(machine: Callable[..., Machine]) -> None:
    idle = machine(IDLE)
    assert idle.train(500) == 4
    assert idle.lines == []


def test_a_machine_that_is_busy_at_the_start_uses_fewer_until_it_is_free(machine: Callable[..., Machine]) -> None:
    busy = machine(BUSY)
    assert busy.train(threads.STEPS) == 2
    assert busy.train(2 * threads.PAUSE) == 2
    busy.seconds = IDLE
    assert busy.train(2 * threads.PAUSE) == 4
    assert [line.split(":")[0] for line in busy.lines] == [
        "trains on 2 threads, before on 4",
        "trains on 4 threads, before on 2",
    ]


def test_a_step_that_is_fast_by_chance_is_looked_at_again(machine: Callable[..., Machine]) -> None:
    busy = machine(BUSY)
    busy.train(threads.STEPS)
    busy.seconds = IDLE
    while len(busy.lines) == 1:
        busy.train(1)
    busy.seconds = BUSY
    assert busy.train(threads.STEPS) == 2


def test_a_rate_that_drops_is_answered(machine: Callable[..., Machine]) -> None:
    idle = machine(IDLE)
    idle.train(70)
    idle.seconds = BUSY
    assert idle.train(threads.STEPS) == 2


def test_a_step_that_is_slow_by_chance_changes_nothing(machine: Callable[..., Machine]) -> None:
    idle = machine(IDLE)
    idle.train(70)
    idle.seconds = BUSY
    idle.train(threads.STEPS // 2)
    idle.seconds = IDLE
    assert idle.train(100) == 4
    assert idle.lines == []
