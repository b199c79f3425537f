"""Models kept on the way: handed over whole and in order, with a list that is there when there are none."""

from pathlib import Path

import pytest

from ngldm.data.snapshots import hand_over, snapshot_files
from ngldm.io.errors import InputError


def test_models_are_handed_over_first_step_first(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for step in (20, 5, 100):
        (kept / f"{step:09d}.safetensors").write_text(str(step))
    hand_over(kept, tmp_path / "out")
    assert [file.read_text() for file in snapshot_files(tmp_path / "out")] == ["5", "20", "100"]
    assert not kept.exists()


def test_a_training_that_kept_none_leaves_no_empty_folder(tmp_path: Path) -> None:
    """DVC warns of an empty output."""
    hand_over(tmp_path / "none", tmp_path / "out")
    assert snapshot_files(tmp_path / "out") == []
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["snapshots.json"]


def test_missing_snapshots_are_named_with_their_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stage `train`"):
        snapshot_files(tmp_path / "none")
