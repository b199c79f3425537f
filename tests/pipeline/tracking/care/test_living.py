"""The marks of processes that work on runs."""

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from ngldm.pipeline.tracking.care.living import TAG, marked, marks_of_this_store, own_mark


def test_a_mark_is_known_and_locked_as_long_as_the_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert own_mark() == {}
    with marked():
        ((mark, file),) = marks_of_this_store()
        assert own_mark() == {TAG: mark}
        with pytest.raises(Timeout):
            FileLock(file).acquire(timeout=0)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://example.org")
        assert marks_of_this_store() == []
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert (own_mark(), marks_of_this_store()) == ({}, [])
