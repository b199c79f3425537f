"""The generated images of one noise and sampler on disk."""

from pathlib import Path

import numpy as np

from ngldm.io.errors import InputError
from ngldm.io.files import entry, read_json
from ngldm.io.images import UInt8Array, open_array, require_images

MADE_BY = "the stage `sample`"


def load_images(path: Path) -> tuple[UInt8Array, UInt8Array]:
    """Images (N, H, W, C) and trajectory (frames, n, H, W, C) of a folder that the stage `sample` wrote.

    Raises:
        InputError: one of the files is missing or damaged, or their shapes or counts differ.
    """
    images, trajectory = (open_array(path / f"{name}.npy", np.uint8, MADE_BY) for name in ("images", "trajectory"))
    require_samples(path, images, trajectory)
    return images, trajectory


def require_samples(path: Path, images: UInt8Array, trajectory: UInt8Array) -> None:
    """Check generated images: their shapes, and that samples.json gives the same number of them.

    Raises:
        InputError: what is wrong, and in which file.
    """
    require_images(path / "images.npy", images)
    require_images(path / "trajectory.npy", trajectory, leading=2)
    if images.shape[1:] != trajectory.shape[2:]:
        shapes = f"{images.shape[1:]} in images.npy, {trajectory.shape[2:]} in trajectory.npy"
        raise InputError(f"{path}: images of different shapes (H, W, C): {shapes}")
    about = path / "samples.json"
    if about.is_file():
        expected = entry(read_json(about, "num_images"), "num_images", int, about)
        if len(images) != expected:
            raise InputError(f"{path / 'images.npy'}: {len(images)} images, but samples.json says {expected}")
