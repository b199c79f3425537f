"""Generated images or points on disk: images.npy or points.npy, and trajectory.npy; a seed per item.

Those of a model with classes also have classes.npy, the class that was asked of each item.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ngldm.io.errors import InputError
from ngldm.io.files import entry, read_json, require, require_unchanged
from ngldm.io.images import open_array, require_finite, require_images
from ngldm.io.items import CLASSES, Items, are_points, as_images, as_points, noun, open_items

MADE_BY = "the stage `sample`"


def load_samples(path: Path) -> tuple[Items, Items]:
    """What the stage `sample` wrote into a folder.

    Returns:
        Images (N, H, W, C) uint8 and a trajectory (frames, n, H, W, C); or points (N, d) float32 and a trajectory
        (frames, n, d).

    Raises:
        InputError: one of the files is missing or damaged, or their shapes or counts differ.
    """
    points = (path / "points.npy").is_file()
    names = ("points" if points else "images", "trajectory")
    items, trajectory = (open_items(path / f"{name}.npy", points, MADE_BY) for name in names)
    require_samples(path, items, trajectory)
    return items, trajectory


def asked_classes(path: Path) -> NDArray[np.int64] | None:
    """The class (N,) that was asked of each item; None for a model without classes.

    Raises:
        InputError: the file is damaged, not as long as samples.json says, or has a number below 0.
    """
    file = path / CLASSES
    if not file.is_file():
        return None
    classes = open_array(file, np.int64, MADE_BY)
    expected = entry(read_json(path / "samples.json", "num_images"), "num_images", int)
    if classes.shape != (expected,):
        raise InputError(f"{file}: shape {classes.shape}, must be ({expected},), as samples.json says")
    if classes.min(initial=0) < 0:
        raise InputError(f"{file}: class {classes.min()} must be at least 0; it comes from {MADE_BY}")
    return classes


def model_behind(path: Path) -> str:
    """SHA-256 of the model file that the items of a folder come from.

    Raises:
        InputError: samples.json is missing or damaged, or does not say it.
    """
    about = require(path / "samples.json", MADE_BY)
    return entry(read_json(about, "model_sha256"), "model_sha256", str, about)


def require_origin(path: Path, noise: str, sampler: str) -> None:
    """Check that samples.json says from which model the items of a folder come, and that they are those of its name.

    Args:
        noise: label of the training.
        sampler: label of the sampler. Folders of older versions do not have it.

    Raises:
        InputError: samples.json is missing or damaged, or the items are of another training or sampler.
    """
    file = require(path / "samples.json", MADE_BY)
    about = read_json(file, "model_sha256", "noise")
    entry(about, "model_sha256", str, file)
    for key, label in (("noise", noise), ("sampler_label", sampler)):
        if about.get(key, label) != label:
            raise InputError(f"{file}: {key}: {about[key]!r}, must be {label!r}; run {MADE_BY} again")


def require_samples(path: Path, items: Items, trajectory: Items) -> None:
    """Check what was generated: shapes, finite numbers, and that samples.json gives the same number of them.

    Raises:
        InputError: what is wrong, and in which file.
    """
    file = path / f"{noun(items)}.npy"
    if are_points(items):
        for name, array, axes in ((file, items, "(N, d)"), (path / "trajectory.npy", trajectory, "(frames, n, d)")):
            if array.ndim != axes.count(",") + 1 or 0 in array.shape:
                raise InputError(f"{name}: points of shape {array.shape}, must be {axes} with none of them 0")
            require_finite(name, as_points(array))
    else:
        require_images(file, as_images(items))
        require_images(path / "trajectory.npy", as_images(trajectory), leading=2)
    if items.shape[1:] != trajectory.shape[2:]:
        axes = "(d,)" if are_points(items) else "(H, W, C)"
        shapes = f"{items.shape[1:]} in {file.name}, {trajectory.shape[2:]} in trajectory.npy"
        raise InputError(f"{path}: {noun(items)} of different shapes {axes}: {shapes}")
    about = path / "samples.json"
    if about.exists():
        content = read_json(about, "num_images")
        expected = entry(content, "num_images", int, about)
        if len(items) != expected:
            raise InputError(f"{file}: {len(items)} {noun(items)}, but samples.json says {expected}")
        require_unchanged(about, "sha256", content)


def same_number(counts: Mapping[str, int]) -> int:
    """The number of images that each sampler has.

    Raises:
        InputError: the numbers differ, so the scores could not be compared.
    """
    if len(set(counts.values())) > 1:
        raise InputError(f"samples: different numbers of images, {dict(counts)}; run the stage `sample` of all again")
    return next(iter(counts.values()))
