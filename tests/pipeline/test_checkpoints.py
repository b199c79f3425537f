"""Where a stage's training keeps its checkpoints, how long, and what is said of those that are not used."""

import json
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.checkpoints import resumable
from ngldm.training.checkpoint import Checkpointer

MADE_FROM = {"settings": {"lr": 0.1}}


def broken_off() -> Checkpointer:
    """A training that ends in the middle, after the readable half of a checkpoint."""
    with suppress(KeyboardInterrupt), resumable("train", "laplace", MADE_FROM, 5) as keeper:
        keeper.folder.mkdir(parents=True)
        (keeper.folder / "last.json").write_text(json.dumps({"step": 7, "made_from": MADE_FROM}))
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
    said = f"train: waits for another process with the same training ({folder})"

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
