""".npy files written row by row."""

from pathlib import Path

import numpy as np

from ngldm.io.images import UInt8Array


class NpyAppender:
    """A .npy file of uint8 rows written one after another, so that a data set larger than memory passes through.

    Args:
        row: shape of a row.
    """

    def __init__(self, path: Path, row: tuple[int, ...]) -> None:
        self.row, self.count = row, 0
        self.file = path.open("wb")
        self._header()

    def _header(self) -> None:
        # numpy pads the header so that the first axis can grow: it keeps its length.
        np.lib.format.write_array_header_1_0(
            self.file, {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.row)}
        )

    def append(self, rows: UInt8Array) -> None:
        """Add (n, *row)."""
        if rows.shape[1:] != self.row or rows.dtype != np.uint8:
            raise ValueError(f"rows of {rows.dtype} {rows.shape[1:]} in a file of uint8 {self.row}")
        self.file.write(rows.tobytes())
        self.count += len(rows)

    def __enter__(self) -> "NpyAppender":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.seek(0)
        self._header()
        self.file.close()
