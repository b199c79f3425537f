"""`ngldm schedule`: what it prints and draws, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Ngldm = Callable[..., tuple[int, str, str]]


def test_schedule_list_and_show(ngldm: Ngldm, tmp_path: Path) -> None:
    code, out, _ = ngldm("schedule", "list")
    assert code == 0
    assert all(name in out for name in ("constant", "polynomial", "cosine", "rectified_flow", "edm_ve", "stable"))
    picture = tmp_path / "s.png"
    code, out, err = ngldm("schedule", "show", "linear", "rectified_flow", "edm_ve", "stable", "--out", str(picture))
    assert code == 0, err
    assert out.startswith("a^2 / (a^2 + b^2)")  # the figures say what they are
    last = out.splitlines()[-2].split()
    assert last[0] == "1000"
    assert float(last[1]) == pytest.approx(4.04e-5, rel=0.01)  # DDPM's
    assert float(last[2]) == 0.0
    assert float(last[3]) == pytest.approx(1.0 / 6401.0, rel=0.01)  # sigma = 80
    assert Image.open(picture).size[0] > 600


def test_show_leaves_out_what_has_no_zero_terminal_snr(ngldm: Ngldm) -> None:
    code, out, err = ngldm("schedule", "show", "--zero-terminal-snr", "--num-train-timesteps", "20")
    assert code == 0, err
    assert "edm_ve" not in out
    assert set(out.splitlines()[-1].split()[1:]) == {"0"}  # a_T of all the others


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "square"), "unknown schedule 'square'"),
        (("show", "polynomial", "--degree", "-1"), "schedule.degree: -1"),
        (("show", "stable", "--alpha", "1"), "schedule.alpha: 1.0 must be above 1 and at most 2"),
        (("show", "edm_ve", "--zero-terminal-snr"), "schedule.zero_terminal_snr: not with 'edm_ve'"),
    ],
)
def test_bad_input_is_one_message(ngldm: Ngldm, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = ngldm("schedule", *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_a_schedule_of_one_level_is_drawn(ngldm: Ngldm, tmp_path: Path) -> None:
    picture = tmp_path / "one.png"
    code, _, err = ngldm("schedule", "show", "rectified_flow", "--num-train-timesteps", 1, "--out", picture)
    assert code == 0, err
    assert Image.open(picture).width > 0


@pytest.mark.parametrize("option", ["--objective", "--weighting", "--time-density"])
def test_a_name_is_checked_without_a_picture_too(ngldm: Ngldm, option: str) -> None:
    code, out, err = ngldm("schedule", "show", "linear", option, "foo")
    assert code == 2
    assert not out
    assert "'foo'; choose one of" in err
