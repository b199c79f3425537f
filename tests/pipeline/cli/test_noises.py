"""`ngldm noise`: what it prints and draws, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Ngldm = Callable[..., tuple[int, str, str]]


def test_show_prints_exact_and_sampled_moments_and_draws(ngldm: Ngldm, tmp_path: Path) -> None:
    picture = tmp_path / "gamma.png"
    code, out, _ = ngldm("noise", "show", "gamma", "-p", "concentration=4", "--out", str(picture))
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("skewness")).split()
    assert float(row[1]) == 1.0  # 2 / sqrt(4)
    assert abs(float(row[2]) - 1.0) < 6 * float(row[3])
    assert Image.open(picture).size[0] > 300


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cauchy",), "unknown noise 'cauchy'"),
        (("student_t", "-p", "df=2"), "variance is infinite"),
        (("student_t", "-p", "df"), "'df' must be key=value"),
        (("mirrored", "-p", "base={"), "is not key=<YAML>"),
    ],
)
def test_bad_input_is_one_message(ngldm: Ngldm, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = ngldm("noise", "show", *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
