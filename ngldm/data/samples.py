"""Generated images on disk: one uint8 array per run, a seed per image."""

from pathlib import Path

import numpy as np

from ngldm.io.errors import InputError
from ngldm.io.files import entry, read_json
from ngldm.io.images import UInt8Array, open_array, require_images

MADE_BY = "the stage `sample`"


def load_images(path: Path) -> tuple[UInt8Array, UInt8Array]:
    """Images (N, H, W, C) and trajectory (frames, n, H, W, C) of a folder that the stage `sample` wrote.

    Raises:
        InputError: one of the files is missing or damaged, or they do not belong together.
    """
    images, trajectory = (open_array(path / f"{name}.npy", np.uint8, MADE_BY) for name in ("images", "trajectory"))
    require_samples(path, images, trajectory)
    return images, trajectory


def require_samples(path: Path, images: UInt8Array, trajectory: UInt8Array) -> None:
    """The one check of generated images: shapes, and as many as samples.json says.

    Raises:
        InputError: what is wrong, and in which file.
    """
    require_images(path / "images.npy", images)
    require_images(path / "trajectory.npy", trajectory, leading=2)
    if images.shape[1:] != trajectory.shape[2:]:
        raise InputError(f"{path}: images of {images.shape[1:]} beside a trajectory of {trajectory.shape[2:]}")
    about = path / "samples.json"
    if about.is_file() and entry(read_json(about, "num_images"), "num_images", int) != len(images):
        raise InputError(f"{path / 'images.npy'}: {len(images)} images, samples.json says otherwise")
