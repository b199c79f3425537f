"""Damaged results of the stages that do not train: batches of `sample` and `evaluate`, rows of `curve` and `study`."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngldm.io import processes
from ngldm.pipeline.checkpoints import Parts, resumable
from ngldm.pipeline.experiments.jobs import KeptRows

DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: os.truncate(path, 0),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 8),
    "text": lambda path: path.write_text("nothing of the kind"),
    "another array": lambda path: np.save(path.open("wb"), np.zeros((3, 2))),
    "NaN": lambda path: np.save(path.open("wb"), np.full((4, 2), np.nan)),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_batch_is_made_again_and_the_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made: list[int] = []

    def make(part: int) -> np.ndarray:
        made.append(part)
        return np.full((4, 2), float(part))

    def run(dies: bool) -> list[np.ndarray]:
        with resumable("sample", "_sample", {"settings": {}}, 1) as keeper:
            found = list(processes.spread(4, make, Parts(keeper, "batches")))
            if dies:
                raise KeyboardInterrupt
            return found

    with suppress(KeyboardInterrupt):
        run(dies=True)
    (file,) = Path("checkpoints").glob("*/batches/2-*.npy")
    DAMAGES[damage](file)
    made.clear()
    capsys.readouterr()
    np.testing.assert_array_equal(run(dies=False), [np.full((4, 2), float(part)) for part in range(4)])
    assert made == [2]
    said = [line for line in capsys.readouterr().out.splitlines() if "was removed" in line]
    assert said == (
        [] if damage == "missing" else [f"sample: {file.resolve()} is damaged and was removed; it is made again"]
    )


ROWS = [{"step": 1, "value": 0.25}, {"step": 2, "value": 0.5}]


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept["rows"][1].update(value=0.4),
        lambda kept: kept["rows"][1].update(value=None),
        lambda kept: kept["rows"][1].update(value=float("nan")),
        lambda kept: kept["rows"].pop(),
        lambda kept: kept["rows"].reverse(),
    ],
)
def test_changed_rows_of_a_job_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: Callable[[Any], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    job: KeptRows[Any] = KeptRows("study", "laplace-0", ("step", "value"), {"code": "c"})
    job.write(ROWS)
    kept = json.loads(job.path.read_text())
    change(kept)
    job.path.write_text(json.dumps(kept))
    assert job.read() is None
    assert "not used, it is damaged, or an older version wrote it" in capsys.readouterr().out
    job.write(ROWS)
    assert job.read() == ROWS
