"""A stage from a warm process is as one of its own: its words, exit codes, signals, environment and streams."""

import signal
import sys

import pytest

from tests.pipeline.warm.commands import Commands

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a warm process needs Linux")


def test_the_first_command_has_a_process_of_its_own_and_the_next_are_forks(commands: Commands) -> None:
    alone = commands.told("--noise", "größer", NGLDM_WARM="0", OWN="a")
    assert not alone.pop("forked")
    commands.warm(OWN="a")
    forked = commands.told("--noise", "größer", OWN="a")
    assert forked.pop("forked")
    assert forked == alone
    assert commands.call("stages.tell", OWN="a")[2] == "to stderr\n"


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("0", 0, ""),
        ("2", 2, ""),
        ("258", 2, ""),
        ("-1", 255, ""),
        ("text", 1, "said at the end\n"),
        ("kill", -9, ""),
        ("raise", 1, "RuntimeError: a defect\n"),
    ],
)
def test_it_ends_as_the_stage_ends(commands: Commands, what: str, code: int, words: str) -> None:
    commands.warm()
    found, out, err = commands.call("stages.end", what)
    assert (found, out) == (code, "")
    assert err.endswith(words)
    assert commands.call("stages.end", what, NGLDM_WARM="0")[0] == code


def test_threads_and_what_is_to_be_done_at_the_end_are_waited_for(commands: Commands) -> None:
    commands.warm()
    assert commands.call("stages.end", "late") == (0, "from a thread\nat the end\n", "")


@pytest.mark.parametrize(("unbuffered", "code"), [("", 120), ("1", 1)])
def test_output_that_cannot_be_written_is_a_fault(commands: Commands, unbuffered: str, code: int) -> None:
    """As without a warm process: noticed when it is written, or at the end."""
    commands.warm(PYTHONUNBUFFERED=unbuffered)
    for warm in ("1", "0"):
        process = commands.start("stages.tell", NGLDM_WARM=warm, PYTHONUNBUFFERED=unbuffered)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.close()
        assert (warm, process.wait(30)) == (warm, code)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_reaches_the_stage(commands: Commands, name: str) -> None:
    commands.warm()
    process = commands.begin("stages.wait", "begun\n")
    process.send_signal(number := signal.Signals[name])
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + number, f"stopped by {name}; the last checkpoint, if any, is kept\n")


def test_an_unbuffered_stage_is_heard_at_once(commands: Commands) -> None:
    commands.warm(PYTHONUNBUFFERED="1")
    process = commands.begin("stages.chat", "out\n", PYTHONUNBUFFERED="1")
    assert process.stderr is not None
    assert process.stderr.readline() == "err\n"
    process.kill()
    process.communicate(timeout=10)
