"""Generated images on disk: one uint8 array per run, a seed per image."""

from pathlib import Path

import numpy as np

from ngldm.io.errors import InputError
from ngldm.io.files import require
from ngldm.io.images import UInt8Array


def load_images(path: Path) -> tuple[UInt8Array, UInt8Array]:
    """Images (N, H, W, C) and trajectory (frames, n, H, W, C) of a folder that the stage `sample` wrote.

    Raises:
        InputError: one of the files is missing or damaged.
    """
    arrays = []
    for name in ("images.npy", "trajectory.npy"):
        file = require(path / name, "the stage `sample`")
        try:
            arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{file}: not a whole .npy file ({error})") from error
    return arrays[0], arrays[1]
