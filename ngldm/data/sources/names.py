"""The data sets and their options.

This module does not import numpy, so that checking params.yaml is fast.
"""

import re
from collections.abc import Mapping

from ngldm.io.errors import InputError, unknown

# Of data sets that pass by in shards.
_STREAMED = {
    **{"image": True, "label": False, "size": True, "channels": True, "min_side": True, "on_error": True},
    **{"keep_pixels": True, "keep_images": False, "test_size": False},
}
# Data set -> option -> whether it is required. All data sets also have `source` and `seed`.
SOURCE_OPTIONS: dict[str, dict[str, bool]] = {
    "digits": {"test_size": True, "long_tail": False},
    "cifar10": {"mirror": False, "long_tail": False},
    "fashion_mnist": {"mirror": False, "long_tail": False},
    "image_folder": {
        **{"size": True, "channels": True, "min_side": True, "on_error": True},
        **{"test_size": False, "long_tail": False},
    },
    "photographs": {"train_size": True, "test_size": True, "size": True},
    "huggingface": {
        **{"hub": False, "revision": False, "subset": False, "train_split": True, "test_split": False},
        **_STREAMED,
    },
    "webdataset": {"shards": True, "test_shards": False, **_STREAMED},
    "points": {"test_size": True, "transform": True, "train_size": False, "law": False},
}
FIXED_SHAPES = {"digits": (1, 8, 8), "cifar10": (3, 32, 32), "fashion_mnist": (1, 28, 28)}  # (C, H, W)
LATENT_TYPES = ("float32", "float16")  # on disk, of data sets that pass by in shards
UNMIRRORED = {  # data sets to which no mirror image belongs, and why
    "digits": "a mirrored digit is not a digit",
    "fashion_mnist": "its shoes all point to the left",
    "points": "points have no left and right",
}
TAILS = ("gaussian", "student_t", "stable")  # of the modes of a synthetic law of points
DOWNLOADED = tuple(name for name, options in SOURCE_OPTIONS.items() if "mirror" in options)


def image_shape(name: str, size: int | None, channels: int | None) -> tuple[int, int, int]:
    """(C, H, W) of the images of a data set with these options."""
    side = size or 0
    return FIXED_SHAPES.get(name, (1 if name == "photographs" else channels or 0, side, side))


def check_flips(name: str) -> None:
    """Check that the mirror images of a data set's images can belong to it. For your own images you say so yourself.

    Raises:
        InputError: they cannot.
    """
    if reason := UNMIRRORED.get(name):
        raise InputError(f"latents.flips: true does not fit the data set {name!r}: {reason}")


def check_source(name: str, options: Mapping[str, object]) -> None:
    """Check the options of a data set.

    Args:
        options: the options that not all data sets have. The value None means not given.

    Raises:
        InputError: the data set is unknown, does not have an option, or a required option is missing.
    """
    if name not in SOURCE_OPTIONS:
        raise unknown("dataset.name", name, SOURCE_OPTIONS)
    own = SOURCE_OPTIONS[name]
    for key, value in options.items():
        if value is not None and key not in own:
            raise InputError(f"{key}: not an option of data set {name!r}; its options are {sorted(own)}")
    for key, needed in own.items():
        if needed and options.get(key) in (None, "???"):
            raise InputError(f"{key}: missing; data set {name!r} needs it")
    if name == "points" and (options.get("law") is None) != (options.get("train_size") is None):
        raise InputError("train_size: needed with a law, and only there; of a table, all rows but test_size are used")
    if "keep_pixels" in own:
        _check_streamed(options)


def _check_streamed(options: Mapping[str, object]) -> None:
    """The rules between options of data sets in shards.

    Raises:
        InputError: one is broken.
    """
    keep, revision = options.get("keep_images"), options.get("revision")
    if (keep is None) != bool(options.get("keep_pixels")):
        raise InputError(f"keep_images: {keep}; needed with keep_pixels false, and only there")
    if not (options.get("test_split") or options.get("test_shards")) and options.get("test_size") is None:
        raise InputError(
            "test_size: missing; without test_split or test_shards it says how many images are for testing"
        )
    if (split := options.get("test_split")) is not None and split == options.get("train_split"):
        raise InputError(f"test_split: {split!r} is the training split too; null tests on images that are kept apart")
    if (options.get("hub") is None) != (revision is None):
        raise InputError(f"revision: {revision!r}; needed with hub, and only there")
    if revision is not None and not re.fullmatch("[0-9a-f]{40}", str(revision)):
        raise InputError(
            f"revision: {revision!r} is no commit; give its 40 hex digits (the data set's page lists them under "
            "History), because branches and tags move"
        )
