"""What the terminal shows: bars, plain lines, silence, tables; `ngldm list`, `compare` and `doctor`."""

import inspect
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ngldm.noise import noise_names
from ngldm.pipeline import terminal as command
from ngldm.pipeline.cli import catalogue as list_cli
from ngldm.pipeline.cli import compare as compare_cli
from ngldm.pipeline.cli import doctor as doctor_cli
from ngldm.pipeline.cli import main
from ngldm.pipeline.cli.doctor import CHECKS, Finding
from ngldm.sampling.samplers import SAMPLERS
from stages import download

ROOT = Path(__file__).parents[2]
Call = Callable[..., tuple[int, str, str]]
BAR = """
import time
from ngldm.pipeline.terminal import print_table, progress, summary
with progress("train laplace", 4, "steps") as advance:
    for _ in range(4):
        advance(1, "loss 1.5")
print_table(["noise", "score"], [["laplace", "[bold]1.5[/]"]])
summary("sample laplace", {"loss": 0.123456, "images": 7})
"""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `ngldm <arguments>`; gives exit code, standard output, standard error."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ngldm", *arguments])
        with pytest.raises(SystemExit) as caught:
            main.main()
        out, err = capsys.readouterr()
        return (caught.value.code if isinstance(caught.value.code, int) else 0), out, err

    return run


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
    assert set(lines) == {*labelled, *others}
    assert "training images 1500" in lines["download digits"]
    assert "fd_classifier auto " in lines["evaluate laplace"]
    assert "smoke on digits, 64 images each" in log  # the report's own table


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
    assert command.follow("train", 10, iter(reports), lambda report: seen.append(report.step)) == reports
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


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("noises", noise_names()),
        ("samplers", list(SAMPLERS)),
        ("recipes", [path.stem for path in (ROOT / "conf" / "recipe").glob("*.yaml")]),
        ("datasets", [path.stem for path in (ROOT / "conf" / "dataset").glob("*.yaml")]),
    ],
)
def test_list_gives_every_name_a_line_that_says_something(
    call: Call, monkeypatch: pytest.MonkeyPatch, what: str, names: list[str]
) -> None:
    monkeypatch.chdir(ROOT)
    code, out, _ = call("list", what)
    assert code == 0
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert sorted(lines) == sorted(names)
    assert all(len(words) >= 2 for words in lines.values())


def test_list_recipes_elsewhere_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call("list", "recipes")
    assert code == 2
    assert "conf/recipe" in err


def test_a_sentence_keeps_abbreviations_and_is_cut() -> None:
    assert list_cli._sentence("Song et al. 2021 did. Then more.") == "Song et al. 2021 did"
    assert len(list_cli._sentence("word " * 100)) <= list_cli.WIDTH


def test_compare_shows_what_differs_and_the_scores(call: Call, smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    code, out, _ = call("compare")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert sorted(rows["noise"]) == ["gaussian", "laplace"]
    assert "train.lr" not in rows  # equal
    assert len(rows["fd_classifier.auto"]) == 2
    assert not any(key.startswith("train.") for key in rows)


def test_compare_takes_names_and_first_letters_of_ids_in_order(
    call: Call, smoke: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(smoke)
    run = next(run for run in compare_cli._scored_runs("ngldm") if run.data.tags["noise"] == "laplace")
    code, out, _ = call("compare", run.info.run_id[:12], "gaussian", "--all")
    assert code == 0
    params, scores = (
        {line.split()[0]: line.split()[1:] for line in part.splitlines() if line.strip()}
        for part in out.split(" scores ")
    )
    assert params["noise"] == ["laplace", "gaussian"]
    assert params["train.max_steps"] == ["20", "20"]
    assert "train.grad_norm" in scores


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), ["RUN", "'nonsense'", "gaussian", "laplace"]),
        (("",), ["RUN", "''"]),
        (("--experiment", "none"), ["--experiment", "'none'", "ngldm"]),
    ],
)
def test_compare_refuses_what_is_not_there(
    call: Call, smoke: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: list[str]
) -> None:
    monkeypatch.chdir(smoke)
    code, _, err = call("compare", *arguments)
    assert code == 2
    assert all(word in err for word in words)
    assert "Traceback" not in err


def test_compare_without_a_store_makes_none(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    code, _, err = call("compare")
    assert code == 2
    assert "mlflow.db" in err
    assert not (tmp_path / "mlflow.db").exists()


def test_best_is_lowest_distance_highest_recall_and_no_spread() -> None:
    assert compare_cli._best("fid.auto", [3.0, 2.0]) == 2.0
    assert compare_cli._best("recall.auto", [0.3, 0.2]) == 0.3
    assert compare_cli._best("fid_std.auto", [3.0, 2.0]) is None
    assert compare_cli._best("fid.auto", [2.0, 2.0]) is None


def test_doctor_finds_a_finished_workspace_healthy(call: Call, smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    monkeypatch.delenv("NGLDM_DEVICE", raising=False)
    code, out, _ = call("doctor")
    assert code == 0, out
    lines = [line for line in out.splitlines() if line.startswith(("ok", "warn", "FAIL"))]
    assert len(lines) == len(CHECKS)
    assert not any(line.startswith("FAIL") for line in lines)
    assert "1500 training" in out
    assert "mlflow.db: " in out


def test_doctor_names_each_fault_and_its_remedy(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder without git, params, with a damaged store and a device that does not exist."""
    (tmp_path / "mlflow.db").write_bytes(b"this is no database at all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("NGLDM_DEVICE", "cuda:99")
    code, out, _ = call("doctor")
    assert code == 1
    failed = {line.split()[1] for line in out.splitlines() if line.startswith("FAIL")}
    assert failed == {"device", "params", "store", "dvc"}
    assert out.count("to mend it") >= 3
    assert "4 of 9 checks failed" in out


@pytest.mark.parametrize(
    ("change", "check", "state", "word"),
    [
        ({"evaluate": {"extractor": "inception", "inception_weights": "none.pth"}}, "weights", "FAIL", "none.pth"),
        ({"dataset": {"source": "nowhere"}}, "data set", "FAIL", "nowhere"),
    ],
)
def test_doctor_checks_what_the_params_need(
    content: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict, check: str, state: str, word: str
) -> None:
    from ngldm.pipeline.config.params import parse_params

    monkeypatch.chdir(tmp_path)
    for section, values in change.items():
        content[section].update(values)
    finding = CHECKS[check](parse_params(content))
    assert finding.state == state
    assert word in finding.detail
    assert finding.remedy


def test_doctor_warns_of_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    for free, state in ((1e8, "FAIL"), (1e9, "warn"), (1e11, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        assert doctor_cli.disk(None).state == state


def test_a_check_that_breaks_is_a_finding_not_a_traceback() -> None:
    def broken(params: object) -> Finding:
        raise RuntimeError("a bug")

    assert doctor_cli._run(broken, None).state == "FAIL"
