"""What the terminal shows: bars, plain lines, silence, tables."""

import inspect
import os
import pty
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ngldm.pipeline import terminal as command
from stages import download

ROOT = Path(__file__).parents[2]
BAR = """
import time
from ngldm.pipeline.terminal import print_table, progress, summary
with progress("train laplace", 4, "steps") as advance:
    for _ in range(4):
        advance(1, "loss 1.5")
print_table(["noise", "score"], [["laplace", "[bold]1.5[/]"]])
summary("sample laplace", {"loss": 0.123456, "images": 7})
"""


def on_a_terminal(**variables: str) -> str:
    """What BAR writes to a pseudo-terminal."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    environment = {**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **variables}
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", BAR], stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # Linux's end of a pseudo-terminal
                break
            if not chunk:
                break
            text += chunk
    os.close(ours)
    assert process.returncode == 0, text
    return text.decode()


def test_a_terminal_gets_a_bar_with_rate_and_colours() -> None:
    text = on_a_terminal()
    assert "━" in text
    assert "4/4" in text
    assert "steps/s" in text
    assert "loss 1.5" in text
    assert [word for word in text.split() if word in ("0.1235", "7", "loss")][-3:] == ["loss", "0.1235", "7"]
    assert "sample laplace: " not in text  # a table, not the line
    assert "\x1b[38;5;" in text or "\x1b[3" in text


def test_no_color_is_honoured() -> None:
    text = on_a_terminal(NO_COLOR="1")
    assert "━" in text
    assert "\x1b[38;" not in text
    assert not any(f"\x1b[{code}m" in text for code in (*range(30, 38), *range(90, 98)))


@pytest.mark.parametrize("variables", [{"CI": "true"}, {"TERM": "dumb"}])
def test_ci_and_dumb_terminals_get_plain_lines(variables: dict[str, str]) -> None:
    text = on_a_terminal(**variables)
    assert "━" not in text
    assert "train laplace: 4/4" in text
    assert "sample laplace: loss 0.1235, images 7" in text
    assert "\x1b[?25l" not in text  # no cursor is hidden, nothing is redrawn


def test_a_table_off_the_terminal_is_neither_coloured_nor_cut(capsys: pytest.CaptureFixture[str]) -> None:
    command.print_table(["key", "value"], [["k", "[bold]" + "x" * 500 + "[/]"]])
    out = capsys.readouterr().out
    assert "x" * 500 in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("done", "seconds", "expected"),
    [
        (200, 2.0, "100 a/s"),
        (3, 2.0, "1.5 a/s"),
        (1, 20.0, "3.0 a/min"),
        (1, 1800.0, "2.0 a/h"),
        (1, 90000.0, "0.0 a/h"),
    ],
)
def test_rates_are_never_rounded_away(done: int, seconds: float, expected: str) -> None:
    assert command.rate(done, seconds, "a") == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.4, "0 s"), (99.4, "99 s"), (187, "3:07 min"), (7500, "2:05 h")])
def test_durations(seconds: float, expected: str) -> None:
    assert command.duration(seconds) == expected


def test_every_stage_ends_with_its_summary(smoke: Path) -> None:
    log = (smoke.parent / "smoke.log").read_text()
    lines = {
        line.split(": ")[0]: line for line in log.splitlines() if ": " in line and not re.search(r": \d+/\d", line)
    }
    pairs = [f"{noise} {sampler}" for noise in ("gaussian", "laplace") for sampler in ("ancestral", "auto")]
    labelled = [f"{stage} {noise}" for stage in ("train", "evaluate") for noise in ("gaussian", "laplace")]
    labelled += [f"sample {pair}" for pair in pairs]
    others = ["download digits", "autoencoder kl", "latents", "reference classifier", "curve", "study", "theory"]
    verdicts = ["ancestral", "auto"]  # the report's line for each sampler
    assert set(lines) == {*labelled, *others, *verdicts}
    assert "training images 1500" in lines["download digits"]
    assert "fd_classifier auto " in lines["evaluate laplace"]
    assert "smoke on digits, 64 images each" in log  # the report's own table


def run_stage(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"stages.{name}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_stage_has_quiet_in_its_help() -> None:
    assert "--quiet" in run_stage("download", "--help").stdout


def test_quiet_silences_output_and_progress_but_not_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    def work(count: int) -> int:
        """Docstring."""
        print("done")
        with command.progress("work", count, "steps") as advance:
            advance(count)
        print("a warning", file=sys.stderr)
        return count

    quiet = command.quietable(work)
    assert list(inspect.signature(quiet).parameters) == ["count", "quiet"]
    assert quiet(3, quiet=True) == 3
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a warning\n")
    quiet(3, quiet=False)
    assert capsys.readouterr().out.startswith("done\nwork: 3/3")


def test_a_trainings_reports_are_shown_handed_on_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass
    class Report:
        step: int
        loss: float

    reports, seen = [Report(4, 2.0), Report(10, 1.5)], list[int]()
    assert command.follow("train", 10, iter(reports), "train", lambda report: seen.append(report.step)) == reports
    assert seen == [4, 10]
    assert re.search(r"^train: 10/10 .* loss 1\.5000$", capsys.readouterr().out, re.MULTILINE)


def test_quiet_ends_with_the_command_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        command.quietable(fail)(quiet=True)
    with command.progress("next", 1, "steps") as advance:
        advance(1)
    assert "next: 1/1" in capsys.readouterr().out


def test_quiet_by_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that `NGLDM_QUIET=1 dvc repro` is quiet too."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NGLDM_QUIET", "1")
    monkeypatch.setattr(sys, "argv", ["stages.download"])
    with pytest.raises(SystemExit) as ended:
        download.main()
    assert (ended.value.code or 0, *capsys.readouterr()) == (0, "", "")
    assert (tmp_path / "data" / "dataset" / "train.npy").is_file()
