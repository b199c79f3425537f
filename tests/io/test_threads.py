"""Threads follow what the environment says and the cores that are free."""

import os
import time
from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pytest
import torch

from ngldm.io import threads
from ngldm.io.errors import InputError
from ngldm.io.threads import Clocks, Threads, following_free_cores


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that gives torch four threads, an environment that asks for none, and a process that is new."""
    before = torch.get_num_threads()
    monkeypatch.setattr(Threads, "last", None)
    for variable in threads.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("value", ["0", "-1", "two", "99999"])
def test_a_bad_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NGLDM_THREADS", value)
    with pytest.raises(InputError, match=r"NGLDM_THREADS: .* must be a whole number, 1 to 1024"):
        Threads().begin()


@pytest.mark.parametrize(("small", "count"), [(True, 1), (False, 4)])
def test_a_small_computation_has_one_thread_until_its_end(small: bool, count: int) -> None:
    made = Threads()
    made.begin(lambda: small)
    assert torch.get_num_threads() == count
    made.end()
    assert torch.get_num_threads() == 4


class Machine:
    """Cores with other work on them, and a training that spends time there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cores: int = 4) -> None:
        self.cores, self.others, self.clocks = cores, 0.0, Clocks(0.0, 0.0, 0.0, 0.0)
        monkeypatch.setattr(threads.time, "perf_counter", lambda: self.clocks.now)
        monkeypatch.setattr(Clocks, "read", lambda: self.clocks)
        self.lines: list[str] = []
        self.threads = Threads(self.lines.append)
        self.threads.begin()

    def compute(self) -> None:
        """A step of half a second, in which each thread and each other process wants a core."""
        count = torch.get_num_threads()
        share = min(1.0, self.cores / (count + self.others))  # of a core that each of them gets
        spent = 0.5 * share * np.array([count, self.others])
        self.clocks = Clocks(
            self.clocks.now + 0.5,
            self.clocks.own + spent[0],
            self.clocks.idle + 0.5 * self.cores - spent.sum(),
            self.clocks.counted + 0.5 * self.cores,
        )

    def train(self, seconds: int) -> int:
        for _ in range(2 * seconds):
            self.compute()
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
    assert machine.lines[0] == "computes on 3 threads, before on 4: 3.2 cores are free of other work"
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


def test_short_computations_profit_from_those_before_them(machine: Machine) -> None:
    machine.threads.end()
    for others, expected in ((1, 3), (3, 2), (0, 4)):
        machine.others = others
        for _ in range(20):
            with following_free_cores():
                found = torch.get_num_threads()
                machine.compute()
            assert torch.get_num_threads() == 4
        assert found == expected


def test_a_computation_within_another_has_as_many_threads(machine: Machine) -> None:
    machine.others = 3
    assert machine.train(20) == 2
    for _ in range(20):
        with following_free_cores():
            assert torch.get_num_threads() == 2
            machine.compute()
        assert torch.get_num_threads() == 2
    machine.others = 0
    for _ in range(20):
        with following_free_cores() as look:
            machine.compute()
            look()
    machine.threads.look()  # what the inner ones have seen counts
    assert torch.get_num_threads() == 4
    machine.threads.end()
    assert torch.get_num_threads() == 4


def test_a_large_computation_within_a_small_one_has_one_thread(machine: Machine) -> None:
    with following_free_cores(lambda: True):
        for _ in range(20):
            with following_free_cores():
                assert torch.get_num_threads() == 1
                machine.compute()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_computations_by_turns_may_end_in_any_order(order: tuple[int, ...]) -> None:
    """As generators do, of which each computes a little when it is asked."""
    begun = [following_free_cores(lambda: True) for _ in order]
    for computation in begun:
        computation.__enter__()
    for left, index in zip((2, 1, 0), order, strict=True):
        begun[index].__exit__(None, None, None)
        assert torch.get_num_threads() == (1 if left else 4)
    torch.set_num_threads(3)
    with following_free_cores(lambda: True):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_the_number_is_given_back_after_a_fault(machine: Machine) -> None:
    machine.others = 3
    machine.train(20)
    machine.threads.end()

    def fail() -> None:
        with following_free_cores():
            assert torch.get_num_threads() == 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == 4


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
