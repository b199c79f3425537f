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
    assert not snapshots.folder.exists()


def test_a_training_that_kept_none_leaves_no_empty_folder(tmp_path: Path) -> None:
    """DVC warns of an empty output."""
    Snapshots(tmp_path / "none", 0).hand_over(tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["snapshots.json"]


def test_missing_snapshots_are_named_with_their_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stage `train`"):
        snapshot_files(tmp_path / "none")
