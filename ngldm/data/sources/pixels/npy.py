""".npy files written row by row."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class NpyAppender:
    """A .npy file of rows written one after another, so that a data set larger than memory passes through.

    Args:
        row: shape of a row.
        dtype: type of its numbers.
    """

    def __init__(self, path: Path, row: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> None:
        self.row, self.dtype, self.count = row, np.dtype(dtype), 0
        self.file = path.open("wb")
        self._header()

    def _header(self) -> None:
        # numpy pads the header so that the first axis can grow: it keeps its length.
        np.lib.format.write_array_header_1_0(
            self.file,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.count, *self.row),
            },
        )

    def append(self, rows: NDArray[np.generic]) -> None:
        """Add (n, *row)."""
        if rows.shape[1:] != self.row or rows.dtype != self.dtype:
            raise ValueError(f"rows of {rows.dtype} {rows.shape[1:]} in a file of {self.dtype} {self.row}")
        self.file.write(rows.tobytes())
        self.count += len(rows)

    def __enter__(self) -> "NpyAppender":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.seek(0)
        self._header()
        self.file.close()
