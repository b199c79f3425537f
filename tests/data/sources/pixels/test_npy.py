"""Files of numpy's, written row by row."""

import numpy as np
import pytest

from ngldm.data.sources.pixels.npy import NpyAppender


def test_appended_rows_are_an_ordinary_npy_file(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (300, 2, 3), dtype=np.uint8)
    with NpyAppender(tmp_path / "a.npy", (2, 3)) as file:
        for start in range(0, 300, 7):
            file.append(rows[start : start + 7])
        with pytest.raises(ValueError, match="rows of"):
            file.append(rows[:, :1])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), rows)
    np.save(tmp_path / "b.npy", rows)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
