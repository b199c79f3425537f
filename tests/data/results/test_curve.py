"""The score by epoch, on disk: what is written is what is read."""

from pathlib import Path

import pytest

from ngldm.data.results.curve import CurveRow, read_curve, write_curves
from ngldm.io.errors import InputError

ROWS = [CurveRow(step=10, epoch=0.1 + 0.2, value=1e-300, metric="fid", num_images=32)]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    write_curves({"laplace": ROWS, "gumbel": []}, tmp_path / "curve")
    assert read_curve(tmp_path / "curve" / "laplace.csv") == ROWS
    assert read_curve(tmp_path / "curve" / "gumbel.csv") == []


def test_noises_that_are_no_longer_compared_go(tmp_path: Path) -> None:
    write_curves({"laplace": ROWS}, tmp_path / "curve")
    write_curves({"gumbel": ROWS}, tmp_path / "curve")
    with pytest.raises(InputError, match=r"laplace\.csv: no such file .* the stage `curve`"):
        read_curve(tmp_path / "curve" / "laplace.csv")
