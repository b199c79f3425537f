"""Models kept on the way: at their steps, handed over in order, with a list that is there when there are none."""

from pathlib import Path

import pytest

from ngldm.data.snapshots import Snapshots, snapshot_files
from ngldm.io.errors import InputError


def kept(folder: Path, every: int) -> Snapshots:
    """Snapshots of a training that reports steps 5, 10, 100 and 20."""
    snapshots = Snapshots(folder / "kept", every)
    snapshots.folder.mkdir()
    for step in (5, 10, 100, 20):
        snapshots.keep(step, lambda path, step=step: path.write_text(str(step)))
    return snapshots


@pytest.mark.parametrize(("every", "steps"), [(10, ["10", "20", "100"]), (5, ["5", "10", "20", "100"]), (0, [])])
def test_models_are_handed_over_first_step_first(tmp_path: Path, every: int, steps: list[str]) -> None:
    snapshots = kept(tmp_path, every)
    snapshots.hand_over(tmp_path / "out")
    assert [file.read_text() for file in snapshot_files(tmp_path / "out")] == steps


def test_a_training_that_kept_none_leaves_no_empty_folder(tmp_path: Path) -> None:
    """DVC warns of an empty output."""
    Snapshots(tmp_path / "none", 0).hand_over(tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["snapshots.json"]


def test_missing_snapshots_are_named_with_their_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stage `train`"):
        snapshot_files(tmp_path / "none")


@pytest.mark.parametrize("damage", ["exchanged", "of another training", "missing"])
def test_models_that_were_exchanged_or_changed_are_named(tmp_path: Path, damage: str) -> None:
    kept(tmp_path, 10).hand_over(tmp_path / "out")
    first, second = (tmp_path / "out" / f"{step:09d}.safetensors" for step in (10, 20))
    if damage == "exchanged":
        first.write_text("20")
        second.write_text("10")
    elif damage == "of another training":
        first.write_text("11")
    else:
        first.unlink()
    with pytest.raises(InputError, match=r"000000010.safetensors: (has changed since it was written|no such file)"):
        snapshot_files(tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ('["000000010.safetensors", "000000010.safetensors"]', "'000000010.safetensors' is there twice"),
        ('["abc.safetensors"]', "'abc.safetensors' is not named after its step"),
        ('["000000010.npy"]', "'000000010.npy' is not named after its step"),
        ("[10]", "10 is not a text"),
        ('["../000000010.safetensors"]', ".* has a separator of paths"),
    ],
)
def test_a_list_of_other_names_is_refused(tmp_path: Path, names: str, message: str) -> None:
    kept(tmp_path, 10).hand_over(tmp_path / "out")
    (tmp_path / "out" / "snapshots.json").write_text(f'{{"models": {names}}}')
    with pytest.raises(InputError, match=f"snapshots.json: models: {message}"):
        snapshot_files(tmp_path / "out")


def test_a_list_of_an_older_version_has_no_checksums(tmp_path: Path) -> None:
    kept(tmp_path, 10).hand_over(tmp_path / "out")
    (tmp_path / "out" / "snapshots.json").write_text('{"models": ["000000020.safetensors"]}')
    assert [file.name for file in snapshot_files(tmp_path / "out")] == ["000000020.safetensors"]
