"""The number of parts that is found by trial. In place of a GPU a loss refuses what is too large, as torch does."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ngldm.io.errors import InputError
from ngldm.training.checkpoints.checkpointer import Checkpointer
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import Report, fit
from ngldm.training.machine import fitting
from ngldm.training.task import Split, Task

CONFIG = FitConfig(max_steps=6, batch_size=12, warmup_steps=2, log_every=2, accumulate_steps=None)
DATA = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))


class Killed(Exception):
    """Stands for a kill."""


class Training:
    """A network with dropout and running statistics, on a device whose memory holds some items at once."""

    def __init__(self, memory: int, config: FitConfig = CONFIG, root: Path | None = None) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
        self.memory, self.config, self.root, self.largest = memory, config, root, 0

    def loss(self, net: nn.Module, batch: Tensor, generator: torch.Generator, part: slice | None = None) -> Tensor:
        noise = torch.randn(batch.shape, generator=generator)
        own = part or slice(0, len(batch))
        count = own.stop - own.start
        if count > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.largest = max(self.largest, count)
        return (net((batch + noise)[own]) - batch[own]).square().mean(1)

    def reports(self) -> Iterator[Report]:
        keeper = Checkpointer(self.root, "tiny", {}, 2) if self.root else None
        yield from fit(
            self.net, EMA(self.net, 0.9), Task(self.loss, Split.of(DATA)), self.config, seed=1, checkpointer=keeper
        )

    def run(self) -> dict[str, Tensor]:
        self.found = {report.parts for report in self.reports()}
        return self.net.state_dict()


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "REFUSING", ("cpu",))


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(("memory", "parts"), [(100, 1), (12, 1), (11, 2), (6, 2), (5, 3), (3, 4), (2, 6)])
def test_the_fewest_parts_that_fit_are_taken_and_the_trial_leaves_no_trace(
    refusing: None, memory: int, parts: int
) -> None:
    ours = Training(memory)
    assert_same(ours.run(), Training(memory, replace(CONFIG, accumulate_steps=parts)).run())
    assert ours.found == {parts}
    assert ours.largest == 12 // parts


def test_a_number_of_the_settings_is_not_tried(refusing: None) -> None:
    training = Training(3, replace(CONFIG, accumulate_steps=2))
    with pytest.raises(torch.OutOfMemoryError):
        training.run()


def test_on_a_cpu_a_batch_is_taken_whole() -> None:
    training = Training(100)
    training.run()
    assert (training.found, training.largest) == ({1}, 12)


def test_what_fits_nowhere_is_refused(refusing: None) -> None:
    with pytest.raises(InputError, match="accumulate_steps: found no number that fits"):
        Training(0).run()


@pytest.mark.parametrize("memory", [3, 100])
def test_a_resumed_training_keeps_the_number_that_was_found(refusing: None, tmp_path: Path, memory: int) -> None:
    """Also on a machine with more memory, so that the weights are the same to the last bit."""
    whole = Training(3).run()
    killed = Training(3, root=tmp_path)
    with suppress(Killed):
        for report in killed.reports():
            if report.step == 4:
                raise Killed
    resumed = Training(memory, root=tmp_path)
    assert_same(resumed.run(), whole)
    assert (resumed.found, resumed.largest) == ({4}, 3)
