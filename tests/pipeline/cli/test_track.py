"""`ngldm track`. tests/faults/test_tracking.py sends with it."""

from collections.abc import Callable
from pathlib import Path

import pytest

Ngldm = Callable[..., tuple[int, str, str]]


def test_without_journals_there_is_nothing_to_do(ngldm: Ngldm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ngldm("track", "sync") == (0, "nothing is kept for this store\n", "")
    assert not list(tmp_path.iterdir())
