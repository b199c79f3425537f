"""Averages that are kept beside the EMA: their recursion, their snapshots, and a length made of these afterwards."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ngldm.data.snapshots import Snapshots
from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.io.tensors import load_tensors
from ngldm.training.checkpoints.checkpointer import Checkpointer
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.profiles import gamma_of
from ngldm.training.task import Split, Task
from ngldm.training.tracks import Tracks, averaged, snapshot_steps

CONFIG = FitConfig(max_steps=60, batch_size=8, lr=0.05, warmup_steps=0, log_every=20, ema_decay=0.9)
DATA = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def test_snapshots_are_equally_far_apart_and_the_last_is_the_end() -> None:
    assert snapshot_steps(4, 450) == [112, 225, 338, 450]
    assert snapshot_steps(20, 450)[-2:] == [428, 450]
    assert snapshot_steps(20, 5) == [1, 2, 3, 4, 5]  # no more than there are steps
    assert len(snapshot_steps(7, 100)) == 7


def squared(network: nn.Module, batch: Tensor, generator: torch.Generator, part: slice = slice(None)) -> Tensor:
    noise = torch.randn(len(batch), 1, generator=generator)
    return (network(batch) - batch.sum(1, keepdim=True) - noise)[part].square().mean(1)


def train(folder: Path, lengths: tuple[float, ...], stop: int | None = None) -> tuple[nn.Module, EMA[Any]]:
    """A noisy regression, kept every 7 steps, with snapshots where the stage has them; it crashes after step `stop`."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    checkpointer = Checkpointer(folder / "checkpoints", "run", {"lengths": lengths}, 7)
    averages = Snapshots(checkpointer.folder / "snapshots", 0).averages
    tracks = Tracks(network, lengths, snapshot_steps(20, 60), averages) if lengths else None
    ema = EMA(network, CONFIG.ema_decay, tracks)

    def loss(model: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        if ema.updates == stop:
            raise KeyboardInterrupt
        return squared(model, batch, generator)

    for _ in fit(network, ema, Task(loss, Split.of(DATA)), CONFIG, checkpointer=checkpointer):
        pass
    if lengths:
        shutil.copytree(averages, folder / "ema")
    return network, ema


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(folder, (0.05, 0.1))
    return folder


def test_tracks_change_nothing_in_the_training(tmp_path: Path) -> None:
    (plain, own), (network, ema) = train(tmp_path / "plain", ()), train(tmp_path / "tracked", (0.05, 0.1))
    for ours, theirs in ((network, plain), (ema.model, own.model)):
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value)
    assert not (tmp_path / "plain" / "ema").exists()


def test_a_stopped_training_ends_with_the_same_snapshots(tmp_path: Path, whole: Path) -> None:
    for stop in (3, 20, 43, None):
        if stop is None:
            train(tmp_path, (0.05, 0.1))
        else:
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path, (0.05, 0.1), stop)
    names = sorted(file.name for file in (whole / "ema").iterdir())
    assert names == [f"{3 * n:09d}.safetensors" for n in range(1, 21)]
    assert sorted(file.name for file in (tmp_path / "ema").iterdir()) == names
    for name in names:
        assert sha256_file(tmp_path / "ema" / name) == sha256_file(whole / "ema" / name)


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, written = nn.Linear(2, 1), tmp_path / "ema"
    for main in (False, True):
        monkeypatch.setattr("ngldm.io.processes.is_main", lambda main=main: main)
        Tracks(network, (0.1,), (1,), written).update(network, 1)
        assert written.exists() == main


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return float(torch.cat([(ours[key] - theirs[key]).flatten() for key in ours]).norm())


@pytest.mark.parametrize(("length", "share"), [(0.04, 0.5), (0.07, 0.05), (0.15, 0.05)])
def test_a_length_made_afterwards_is_the_one_that_is_tracked(
    tmp_path: Path, whole: Path, length: float, share: float
) -> None:
    """Closer than the averages that were kept, and between their lengths far closer."""
    _, direct = train(tmp_path, (length,))
    (tracked,) = direct.tracks.models.values()  # type: ignore[union-attr]
    wanted = dict(tracked.named_parameters())
    made, error = averaged(whole / "ema", length)
    assert error < 0.01
    assert {value.dtype for value in made.values()} == {torch.float32}
    for kept in (0.05, 0.1):
        assert distance(made, wanted) < share * distance(averaged(whole / "ema", kept)[0], wanted)


def test_a_length_that_was_kept_comes_back(whole: Path) -> None:
    tensors, _ = load_tensors(whole / "ema" / "000000060.safetensors")
    for length in ("0.05", "0.1"):
        made, error = averaged(whole / "ema", float(length))
        assert error < 1e-6
        for key, value in made.items():
            torch.testing.assert_close(value, tensors[f"{length}/{key}"], rtol=1e-6, atol=1e-7)


def test_the_recursion_is_the_papers(tmp_path: Path) -> None:
    generator, network = torch.Generator().manual_seed(0), nn.Linear(3, 2).double()
    tracks = Tracks(network, (0.1,), (), tmp_path)
    expected = np.zeros((2, 3))
    for step in range(1, 30):
        network.weight.data = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        tracks.update(network, step)
        beta = (1 - 1 / step) ** (gamma_of(0.1) + 1)
        expected = beta * expected + (1 - beta) * network.weight.detach().numpy()
        np.testing.assert_allclose(tracks.models["0.1"].weight.detach(), expected, rtol=1e-12, atol=1e-12)


def test_snapshots_hold_parameters_alone_and_say_what_they_are(whole: Path) -> None:
    tensors, state = load_tensors(whole / "ema" / "000000030.safetensors")
    assert state == {"step": 30, "sigma_rel": [0.05, 0.1]}
    parameters = {f"{layer}.{name}" for layer in (0, 1, 2) for name in ("weight", "bias")}
    assert tensors.keys() == {f"{length}/{name}" for length in ("0.05", "0.1") for name in parameters}


def damaged(folder: Path) -> None:
    next(folder.glob("*.safetensors")).write_bytes(b"short")


def emptied(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        file.unlink()


@pytest.mark.parametrize(("damage", "words"), [(damaged, "not a whole"), (emptied, "no snapshots; .*train.ema")])
def test_missing_and_damaged_snapshots_are_named(
    tmp_path: Path, whole: Path, damage: Callable[[Path], None], words: str
) -> None:
    shutil.copytree(whole / "ema", tmp_path / "ema")
    damage(tmp_path / "ema")
    with pytest.raises(InputError, match=words):
        averaged(tmp_path / "ema", 0.07)
    with pytest.raises(InputError, match=r"no such file or folder; it comes from the stage `train` with train\.ema"):
        averaged(tmp_path / "none", 0.07)
