"""A training may have a GPU's fastest kernels; what torch is set to outside of it stays as it is."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from ngldm.io import device
from ngldm.io.device import be_deterministic
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import Report, fit
from ngldm.training.task import Split, Task

CONFIG = FitConfig(max_steps=4, batch_size=4, warmup_steps=0, log_every=2)
State = tuple[int, bool, bool, str]
FASTEST = (0, True, True, "tf32")


def state() -> State:
    """What decides which kernels torch takes: the mode (0 is the default), cuDNN's trials, TF32 of products by both
    names that torch has for it.
    """
    products = torch.backends.cuda.matmul
    found = torch.backends.cudnn.benchmark, products.allow_tf32, products.fp32_precision
    return torch.get_deterministic_debug_mode(), *found


@pytest.fixture(params=["stage", "notebook"])
def outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """The state before a training; the CPU stands for a GPU, whose settings it has too but does not follow."""
    monkeypatch.setattr(device, "HURRIED", ("cpu",))
    before = state()
    if request.param == "stage":
        be_deterministic()
    yield state()
    torch.set_deterministic_debug_mode(before[0])
    products = torch.backends.cuda.matmul
    torch.backends.cudnn.benchmark, products.allow_tf32, products.fp32_precision = before[1:]


class Training:
    """A small regression, which notes the state at each of its steps and fails after some."""

    def __init__(self, deterministic: bool, steps: int = 99) -> None:
        torch.manual_seed(0)
        self.network, self.steps, self.seen = nn.Linear(3, 1), steps, list[State]()
        config = FitConfig(**{**vars(CONFIG), "deterministic": deterministic})
        data = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
        self.reports: Iterator[Report] = fit(
            self.network, EMA(self.network, 0.9), Task(self.loss, Split.of(data)), config
        )

    def loss(self, network: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        self.seen.append(state())
        if len(self.seen) > self.steps:
            raise OSError("the disk is gone")
        out: Tensor = network(batch)
        return out.square().mean(1)


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_kernels_are_those_of_the_training_and_only_while_it_computes(deterministic: bool, outside: State) -> None:
    training = Training(deterministic)
    assert [state() for _ in training.reports] == [outside] * 2
    assert state() == outside
    assert training.seen == [outside if deterministic else FASTEST] * 4
    assert outside != FASTEST


def test_they_are_put_back_after_an_error(outside: State) -> None:
    training = Training(False, steps=3)
    with pytest.raises(OSError, match="the disk is gone"):
        list(training.reports)
    assert len(training.seen) == 4
    assert state() == outside


def test_a_training_that_is_given_up_leaves_nothing_behind(outside: State) -> None:
    training = Training(False)
    next(training.reports)
    assert state() == outside
    assert len(training.seen) == 2


def test_another_device_than_a_gpu_is_left_alone(outside: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "HURRIED", ("cuda",))
    training = Training(False)
    list(training.reports)
    assert training.seen == [outside] * 4


@pytest.mark.usefixtures("outside")
def test_on_a_cpu_the_weights_are_the_same_bits() -> None:
    one, other = Training(True), Training(False)
    for training in (one, other):
        list(training.reports)
    assert torch.equal(one.network.weight, other.network.weight)


def test_products_that_are_in_tf32_already_stay_so(outside: State) -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    with device.kernels(False, torch.device("cpu")):
        assert state() == FASTEST
    assert state() == (*outside[:2], True, "tf32")
