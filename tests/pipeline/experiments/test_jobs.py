"""Results of finished jobs: kept, read back, refused with a reason, and never piling up."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ngldm.pipeline.experiments.jobs import KEPT, KeptRows

MADE_FROM = {"settings": {"lr": 0.1, "widths": (8, 16)}, "inputs": {"data/x": "1"}, "code": "c", "device": "cpu"}
ROWS = [{"step": 1, "value": 0.1 + 0.2}, {"step": 2, "value": 1e-300}]
JOB = KeptRows("curve", "laplace-1", ("step", "value"), MADE_FROM)


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_kept_is_none_and_needs_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert JOB.read() is None
    replace(JOB, name="laplace-10").write(ROWS)
    replace(JOB, name="other-1").write(ROWS)
    replace(JOB, kind="study").write(ROWS)
    assert JOB.read() is None
    assert capsys.readouterr().out == ""


def test_rows_come_back_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    JOB.write(ROWS)
    assert JOB.read() == ROWS
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": {"lr": 0.2, "widths": (8, 16)}}, "changed since: settings.lr\n"),
        ({"settings": {"lr": 0.1, "widths": (8,), "new": 1}}, "changed since: settings.widths, settings.new\n"),
        ({"inputs": {"data/x": "2"}}, "changed since: inputs.data/x\n"),
        ({"code": "d"}, "changed since: code\n"),
        ({"code": "d", "device": "cuda"}, "changed since: code, device\n"),
    ],
)
def test_rows_made_from_anything_else_are_refused_and_a_line_says_why(
    change: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    JOB.write(ROWS)
    other = replace(JOB, made_from={**MADE_FROM, **change})
    assert other.read() is None
    out = capsys.readouterr().out
    assert out.startswith("curve laplace-1: kept result ")
    assert out.endswith(f"not used, {words}")
    assert out.count("\n") == 1
    other.write(ROWS[:1])
    assert other.read() == ROWS[:1]
    assert JOB.read() == ROWS  # going back to the former settings costs nothing


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"rows": [{"step": 1',
        b"\xff\xfe",
        b"[]",
        b'{"step": 1, "value": 2.0}',  # as kept by versions without `made_from`
        b'{"made_from": {}, "rows": null}',
        b'{"made_from": {}, "rows": [1]}',
        b'{"made_from": {}, "rows": [{"step": 1}]}',
        b'{"made_from": null, "rows": []}',
    ],
)
@pytest.mark.parametrize("name", ["laplace-1-0123456789abcdef.json", None])
def test_a_damaged_or_older_file_is_not_used(
    content: bytes, name: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    JOB.write(ROWS)
    JOB.path.rename(path := JOB.path.with_name(name) if name else JOB.path)
    path.write_bytes(content)
    assert JOB.read() is None
    assert f"{path.name} not used, it is damaged, or an older version wrote it\n" in capsys.readouterr().out
    JOB.write(ROWS)
    assert JOB.read() == ROWS


def test_only_the_newest_results_of_a_job_stay() -> None:
    other = replace(JOB, name="laplace-2")
    other.write(ROWS)
    jobs = [replace(JOB, made_from={**MADE_FROM, "code": str(index)}) for index in range(KEPT + 3)]
    for age, job in enumerate(reversed(jobs)):
        job.write(ROWS)
        os.utime(job.path, (1e9 + age, 1e9 + age))
    assert [job.path.exists() for job in jobs] == [True] * KEPT + [False] * 3
    assert other.read() == ROWS


def test_the_copies_of_dvcs_experiments_share_what_is_kept(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = workspace / ".dvc" / "tmp" / "exps" / "abc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    JOB.write(ROWS)
    monkeypatch.chdir(workspace)
    assert JOB.read() == ROWS


def test_the_result_just_written_stays_even_if_the_clock_calls_the_others_newer() -> None:
    for index in range(KEPT):
        job = replace(JOB, made_from={**MADE_FROM, "code": str(index)})
        job.write(ROWS)
        os.utime(job.path, (5e9, 5e9))
    JOB.write(ROWS)
    assert JOB.read() == ROWS
    assert len(list(JOB.path.parent.iterdir())) == KEPT
