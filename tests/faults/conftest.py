"""Faults that are injected into trainings: processes that end by a signal, in a copy of a workspace that has run."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ngldm.pipeline.terminal import command
from ngldm.pipeline.tracking import runs
from ngldm.training.ema import EMA
from stages.train import train
from tests.faults.child import Child, Ended


@pytest.fixture
def workspace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recipe smoke, all but its trainings done; `expected/` has their models and snapshots."""
    for name in ("conf", "data"):
        shutil.copytree(smoke / name, tmp_path / name)
    for name in ("models/laplace", "snapshots/laplace"):
        shutil.copytree(smoke / name, tmp_path / "expected" / name)
    (tmp_path / "models").mkdir()
    shutil.copy(smoke / "models/autoencoder.safetensors", tmp_path / "models")
    shutil.copy(smoke / "params.yaml", tmp_path)
    shutil.copy(smoke / "mlflow.db", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "SYSTEM_SECONDS", 0.1)  # a training waits so long for its monitor at the end
    return tmp_path


SECONDS = 20  # in which a bad value or file must be refused, on a machine that is busy with other things


@pytest.fixture
def in_time() -> Iterator[None]:
    """The test fails if it takes longer than `SECONDS`."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def fork(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], Any]], Child]:
    """`fork(action)`: a `Child` that begins with the action."""
    return lambda action: Child(lambda: command(action)(), tmp_path_factory.mktemp("child") / "texts")


@pytest.fixture
def forked(fork: Callable[[Callable[[], Any]], Child]) -> Callable[[Callable[[], Any]], Ended]:
    """`forked(action)`: a `Child` that has ended."""
    return lambda action: fork(action).end()


@pytest.fixture
def at_step() -> Callable[[int, Callable[[], Any]], Callable[[], None]]:
    """`at_step(k, act)`: an action that trains `laplace`, and acts once in the middle of step k."""

    def make(step: int, act: Callable[[], Any]) -> Callable[[], None]:
        def action() -> None:
            update = EMA.update

            def counted(self: EMA[Any], model: Any) -> None:
                if self.updates == step - 1:
                    EMA.update = update  # type: ignore[method-assign]
                    act()
                update(self, model)

            EMA.update = counted  # type: ignore[method-assign]
            train("laplace", "cpu")

        return action

    return make
