"""Where a stage's training keeps its checkpoints, how long, and what is said of those that are not used."""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.pipeline.checkpoints import Parts, resumable
from ngldm.training.checkpoints.checkpointer import Checkpointer

MADE_FROM = {"settings": {"lr": 0.1}}


def broken_off(**changed: object) -> Checkpointer:
    """A training that ends in the middle, after the readable half of a checkpoint."""
    made_from = {**MADE_FROM, **changed}
    with suppress(KeyboardInterrupt), resumable("train", "laplace", made_from, 5) as keeper:
        keeper.folder.mkdir(parents=True)
        (keeper.folder / "last.json").write_text(json.dumps({"step": 7, "made_from": made_from}))
        raise KeyboardInterrupt
    return keeper


@pytest.mark.parametrize("inside", [".", ".dvc/tmp/exps/standalone/tmpabc"])
def test_they_lie_in_the_main_repository_until_the_block_succeeds(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / inside)
    first = broken_off()
    assert first.folder.parent == tmp_path.resolve() / "checkpoints"
    assert first.every == 5
    assert (first.folder / "last.json").is_file()
    with resumable("train", "laplace", MADE_FROM, 5) as again:
        assert again.folder == first.folder
        assert (again.folder / "last.json").is_file()
    assert not first.folder.exists()


def test_a_line_says_why_an_older_checkpoint_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = broken_off()
    assert capsys.readouterr().out == ""
    with resumable("train", "laplace", {"settings": {"lr": 0.2}}, 5) as other:
        assert other.folder != first.folder
    said = f"train: checkpoint of step 7 in {first.folder} not used, changed since: settings.lr\n"
    assert capsys.readouterr().out == said
    assert first.folder.exists()  # it may be wanted again


@pytest.mark.parametrize(
    ("old", "new", "removed"),
    [
        ({"code": "a"}, {"code": "b"}, True),
        ({"own_noise": {"mine": "a"}}, {"own_noise": {"mine": "b"}}, True),
        ({"own_noise": {"mine": "a"}}, {"own_noise": {"other": "b"}}, False),
        ({"own_noise": {"mine": "a"}}, {"settings": {"lr": 3}}, False),
        ({"inputs": {"data": "a"}}, {"inputs": {"data": "b"}}, False),
    ],
)
def test_a_checkpoint_of_older_code_is_removed_and_a_line_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    old: dict[str, object],
    new: dict[str, object],
    removed: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    first = broken_off(**old)
    with resumable("train", "laplace", {**MADE_FROM, **new}, 5):
        assert first.folder.exists() is not removed
    said = f"train: removed {first.folder}, which no training will continue\n"
    assert (said in capsys.readouterr().out) is removed
    assert [path.name for path in Path("checkpoints").iterdir()] == ([] if removed else [first.folder.name])


def test_a_line_says_where_a_training_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = broken_off()
    with resumable("train", "laplace", MADE_FROM, 5):
        pass
    assert capsys.readouterr().out == f"train: continues from the checkpoint of step 7 in {first.folder}\n"


def test_a_line_says_that_another_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Checkpointer(tmp_path / "checkpoints", "laplace", MADE_FROM, 5).folder
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    said = f"train: waits for {holder}, which has the same training ({folder})"

    def second() -> None:
        with resumable("train", "laplace", MADE_FROM, 5):
            pass

    with resumable("train", "laplace", MADE_FROM, 5):
        assert capsys.readouterr().out == ""
        thread = Thread(target=second)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        assert said in capsys.readouterr().out
    thread.join(10)
    assert not thread.is_alive()


def test_a_place_where_no_checkpoint_can_be_kept_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(InputError, match="checkpoints: cannot"), resumable("train", "laplace", MADE_FROM, 5):
        pass


def test_parts_that_were_made_before_a_stop_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made: list[int] = []

    def make(part: int) -> np.ndarray:
        made.append(part)
        if made == [0, 1, 2]:
            raise KeyboardInterrupt
        return np.full(2, part)

    def all_parts(**changed: object) -> list[int]:
        with resumable("sample", "_sample", {**MADE_FROM, **changed}, 1) as keeper:
            return [int(array[0]) for array in processes.spread(4, make, Parts(keeper, "batches"))]

    with pytest.raises(KeyboardInterrupt):
        all_parts()
    assert all_parts() == [0, 1, 2, 3]
    assert made == [0, 1, 2, 2, 3]
    assert list(Path("checkpoints").iterdir()) == []
    assert all_parts(settings={"lr": 0.2}) == [0, 1, 2, 3]
    assert made == [0, 1, 2, 2, 3, 0, 1, 2, 3]
