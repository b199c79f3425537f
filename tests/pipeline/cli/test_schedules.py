"""`ngldm schedule`: what it prints and draws, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Ngldm = Callable[..., tuple[int, str, str]]


def test_schedule_list_and_show(ngldm: Ngldm, tmp_path: Path) -> None:
    code, out, _ = ngldm("schedule", "list")
    assert code == 0
    assert all(name in out for name in ("constant", "polynomial", "cosine", "edm"))
    picture = tmp_path / "s.png"
    code, out, err = ngldm("schedule", "show", "linear", "cosine", "--out", str(picture))
    assert code == 0, err
    last = out.splitlines()[-2].split()
    assert last[0] == "1000"
    assert float(last[1]) == pytest.approx(4.04e-5, rel=0.01)  # DDPM's
    assert Image.open(picture).size[0] > 600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "square"), "unknown schedule 'square'"),
        (("show", "polynomial", "--degree", "-1"), "schedule.degree: -1"),
    ],
)
def test_bad_input_is_one_message(ngldm: Ngldm, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = ngldm("schedule", *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
