"""Damaged checkpoints: each is set aside, and the training ends as if nothing had happened."""

import copy
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ngldm.io import tensors as tensors_module
from ngldm.io.disk import StorageError
from ngldm.io.tensors import CHECKSUM, load_state, load_tensors, save_tensors
from ngldm.training.checkpoints.checkpointer import Checkpointer
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Split, Task
from ngldm.training.tracks import Tracks

CONFIG = FitConfig(max_steps=20, batch_size=4, warmup_steps=2, log_every=2, eval_every=4)
EVERY = 5
DATA = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
HELDOUT = Split(4, lambda index: DATA[index] + 0.5)


class Killed(Exception):
    """Stands for a kill."""


class Training:
    """A small network; `run` trains it on, and dies in the middle of a step."""

    def __init__(self, root: Path, made_from: str = "this", keeps_best: bool = True, seed: int = 0) -> None:
        self.root, self.made_from, self.keeps_best, self.seed = root, made_from, keeps_best, seed
        self.lines: list[str] = []
        self.steps = 0
        self.folder = self.checkpointer().folder

    def checkpointer(self) -> Checkpointer:
        made_from = {"settings": self.made_from}
        return Checkpointer(self.root, "tiny", made_from, EVERY, self.keeps_best, say=self.lines.append)

    def run(self, dies_at: int | None = None) -> dict[str, Tensor]:
        """The averaged weights, and the best ones under names that begin with `best`."""
        torch.manual_seed(self.seed)
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
        checkpointer = self.checkpointer()
        ema = EMA(net, 0.9, Tracks(net, [0.1], [6, 12, 18], checkpointer.folder / "snapshots" / "ema"))
        self.steps = 0

        def loss(network: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
            if network.training:
                if ema.updates + 1 == dies_at:
                    raise Killed
                self.steps += 1
            return (network(batch) - batch - torch.randn(batch.shape, generator=generator)).square().flatten(1).mean(1)

        kept = checkpointer.folder / "snapshots"
        for report in fit(net, ema, Task(loss, Split.of(DATA), HELDOUT), CONFIG, checkpointer=checkpointer):
            if report.step == ema.updates and report.step % 4 == 0:
                save_tensors(ema.model.state_dict(), {}, kept / f"{report.step}.safetensors")
        best = checkpointer.load("best", "ema") if self.keeps_best else {}
        return {**ema.model.state_dict(), **{f"best.{key}": value for key, value in best.items()}}


def file(training: Training, name: str = "last") -> Path:
    return training.folder / f"{name}.safetensors"


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], object]) -> None:
    """Change the content, and keep the checksum that it had."""
    tensors, state = load_file(path), load_state(path)
    change(tensors, state)
    save_file(tensors, path, metadata={"state": json.dumps(state, sort_keys=True)})


def first(tensors: dict[str, Tensor], start: str) -> str:
    return next(key for key in tensors if key.startswith(start))


def truncate(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 4
    path.write_bytes(content)


def of_another(path: Path) -> None:
    other = Training(path.parent / "elsewhere", "another", seed=1)
    with pytest.raises(Killed):
        other.run(dies_at=17)
    shutil.copy(file(other), path)
    shutil.rmtree(other.root)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: truncate(path, 0.0),
    "cut in the header": lambda path: truncate(path, 0.1),
    "cut in the tensors": lambda path: truncate(path, 0.9),
    "one byte short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "text": lambda path: path.write_text("nothing of the kind"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a bit flipped in a weight": lambda path: flip(path, 0.99),
    "a bit flipped in the header": lambda path: flip(path, 0.2),
    "another step": lambda path: rewrite(path, lambda t, s: s.update(step=14)),
    "a step out of range": lambda path: rewrite(path, lambda t, s: s.update(step=10**6)),
    "a negative step": lambda path: rewrite(path, lambda t, s: s.update(step=-3)),
    "no step": lambda path: rewrite(path, lambda t, s: s.pop("step")),
    "NaN weights": lambda path: rewrite(path, lambda t, s: t[first(t, "model.")].fill_(torch.nan)),
    "NaN in a moment": lambda path: rewrite(path, lambda t, s: t["optimizer.0.exp_avg"].fill_(torch.nan)),
    "no optimiser": lambda path: rewrite(path, lambda t, s: [t.pop(k) for k in list(t) if k.startswith("optim")]),
    "no moments of a layer": lambda path: rewrite(path, lambda t, s: [t.pop(k) for k in list(t) if "mizer.1." in k]),
    "no averaged weights": lambda path: rewrite(path, lambda t, s: [t.pop(k) for k in list(t) if k.startswith("ema")]),
    "another type": lambda path: rewrite(path, lambda t, s: t.update({k: v.half() for k, v in t.items()})),
    "another shape": lambda path: rewrite(path, lambda t, s: t.update({first(t, "ema."): torch.ones(7)})),
    "a foreign tensor": lambda path: rewrite(path, lambda t, s: t.update(foreign=torch.ones(2))),
    "no checksum": lambda path: rewrite(path, lambda t, s: s.pop(CHECKSUM)),
    "another history": lambda path: rewrite(path, lambda t, s: s.update(history=[])),
    "another training": of_another,
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return Training(tmp_path_factory.mktemp("undisturbed")).run()


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_costs_an_interval_and_no_result(
    tmp_path: Path, undisturbed: dict[str, Tensor], damage: str
) -> None:
    training = Training(tmp_path)
    with pytest.raises(Killed):
        training.run(dies_at=17)  # the checkpoints are of steps 15 and 10
    DAMAGES[damage](file(training))
    bad = file(training).read_bytes() if damage != "missing" else None
    assert_same(training.run(), undisturbed)
    assert training.steps == CONFIG.max_steps - 10
    if bad is not None:
        assert file(training, "last.damaged").read_bytes() == bad
        (line,) = training.lines
        assert line.startswith(f"{file(training)} is damaged (")
        assert line.endswith("and was set aside as last.damaged.safetensors; goes on from step 10")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES])
def test_a_checkpoint_that_cannot_be_read_now_stays_as_it_is(
    tmp_path: Path, undisturbed: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    training = Training(tmp_path)
    with pytest.raises(Killed):
        training.run(dies_at=17)

    def refuse(*args: object, **options: object) -> None:
        raise OSError(number, "?")

    with monkeypatch.context() as patch:
        patch.setattr(tensors_module, "safe_open", refuse)
        with pytest.raises(StorageError, match=r"last\.safetensors"):
            training.run()
    assert_same(training.run(), undisturbed)
    assert training.steps == CONFIG.max_steps - 15


@pytest.mark.parametrize("damage", ["empty", "NaN weights"])
def test_if_both_are_damaged_the_training_starts_anew(
    tmp_path: Path, undisturbed: dict[str, Tensor], damage: str
) -> None:
    training = Training(tmp_path)
    with pytest.raises(Killed):
        training.run(dies_at=17)
    for name in ("last", "previous"):
        DAMAGES[damage](file(training, name))
    assert_same(training.run(), undisturbed)
    assert training.steps == CONFIG.max_steps
    (line,) = training.lines
    assert line.endswith("set aside as previous.damaged.safetensors; starts anew")


def test_weights_that_the_training_itself_made_nan_are_not_resumed(
    tmp_path: Path, undisturbed: dict[str, Tensor]
) -> None:
    """Their checksum is right."""
    training = Training(tmp_path)
    with pytest.raises(Killed):
        training.run(dies_at=17)
    _, state = load_tensors(file(training))
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    optimizer = torch.optim.AdamW(net.parameters())
    net(DATA).sum().backward()
    optimizer.step()
    nn.init.constant_(net[0].weight, torch.nan)
    parts = {name: copy.deepcopy(net) for name in ("ema", "ema_0.1")}
    training.checkpointer().save("last", {"model": net, **parts}, optimizer, {**state, "step": 15})
    assert_same(training.run(), undisturbed)
    assert "NaN or infinite numbers in model.0.weight" in training.lines[0]


@pytest.mark.parametrize("damage", ["missing", "empty", "another step"])
def test_a_training_without_its_best_weights_starts_anew_if_it_needs_them(
    tmp_path: Path, undisturbed: dict[str, Tensor], damage: str
) -> None:
    training = Training(tmp_path)
    with pytest.raises(Killed):
        training.run(dies_at=17)
    DAMAGES[damage](file(training, "best"))
    assert_same(training.run(), undisturbed)
    assert training.steps == CONFIG.max_steps
    assert "best.safetensors" in training.lines[0]


def test_best_weights_that_nobody_reads_are_not_kept(tmp_path: Path, undisturbed: dict[str, Tensor]) -> None:
    training = Training(tmp_path, keeps_best=False)
    with pytest.raises(Killed):
        training.run(dies_at=17)
    assert not file(training, "best").exists()
    assert_same(training.run(), {key: value for key, value in undisturbed.items() if not key.startswith("best.")})
    assert training.lines == []


@pytest.mark.parametrize("step", [4, 12])
@pytest.mark.parametrize("damage", ["missing", "empty", "a bit flipped in a weight"])
def test_a_damaged_snapshot_is_made_again(
    tmp_path: Path, undisturbed: dict[str, Tensor], step: int, damage: str
) -> None:
    """Those of steps 4 and 8 belong to the checkpoint of step 10, that of step 12 to the one of step 15."""
    training, whole = Training(tmp_path / "a"), Training(tmp_path / "b")
    whole.run()
    with pytest.raises(Killed):
        training.run(dies_at=17)
    DAMAGES[damage](training.folder / "snapshots" / f"{step}.safetensors")
    assert_same(training.run(), undisturbed)
    assert training.steps == CONFIG.max_steps - (10 if step == 12 else 0)
    names = [f"snapshots/{kept}.safetensors" for kept in (4, 8, 12, 16, 20)]
    for name in (*names, *(f"snapshots/ema/{kept:09d}.safetensors" for kept in (6, 12, 18))):
        assert (training.folder / name).read_bytes() == (whole.folder / name).read_bytes()


@pytest.mark.parametrize("after", ["saved", "last moved", "moved"])
def test_a_kill_at_any_moment_of_a_save_loses_nothing(
    tmp_path: Path, undisturbed: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    training, moves, replace = Training(tmp_path), [0], Path.replace
    dies_after = {"saved": 1, "last moved": 2, "moved": 3}[after] + 6  # the third save begins after six moves

    def move(self: Path, target: Path) -> Path:
        found = replace(self, target)
        if found.parent == training.folder and found.suffix == ".safetensors" and found.stem != "best":
            moves[0] += 1
            if moves[0] == dies_after:
                raise Killed
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", move)
        with pytest.raises(Killed):
            training.run()
    assert_same(training.run(), undisturbed)
    assert training.steps <= CONFIG.max_steps - 10
    assert training.lines == []


@pytest.mark.parametrize("content", ["", "{", '{"step": 1}', "[]"])
def test_a_damaged_readable_copy_changes_nothing(tmp_path: Path, undisturbed: dict[str, Tensor], content: str) -> None:
    training, other = Training(tmp_path), Training(tmp_path, "another experiment")
    with pytest.raises(Killed):
        training.run(dies_at=17)
    (training.folder / "last.json").write_text(content)
    assert other.checkpointer().remove_stale(lambda made_from: False) == []
    assert training.checkpointer().outlook() == f"continues from the checkpoint of step 15 in {training.folder}"
    assert_same(training.run(), undisturbed)
    assert training.steps == CONFIG.max_steps - 15


def test_the_checkpoints_of_a_label_that_begins_the_same_are_another_trainings(tmp_path: Path) -> None:
    seeded = Checkpointer(tmp_path, "tiny-s1", {"settings": "this"}, EVERY)
    seeded.note(3)
    training = Training(tmp_path)
    assert training.checkpointer().outlook() is None
    assert training.checkpointer().remove_stale(lambda made_from: True) == []
    assert json.loads((seeded.folder / "last.json").read_text())["step"] == 3
