"""The data sets and their options.

This module does not import numpy, so that checking params.yaml is fast.
"""

from collections.abc import Mapping

from ngldm.io.errors import InputError, unknown

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
    "points": {"test_size": True, "transform": True, "train_size": False, "law": False},
}
FIXED_SHAPES = {"digits": (1, 8, 8), "cifar10": (3, 32, 32), "fashion_mnist": (1, 28, 28)}  # (C, H, W)
TAILS = ("gaussian", "student_t", "stable")  # of the modes of a synthetic law of points
DOWNLOADED = tuple(name for name, options in SOURCE_OPTIONS.items() if "mirror" in options)


def image_shape(name: str, size: int | None, channels: int | None) -> tuple[int, int, int]:
    """(C, H, W) of the images of a data set with these options."""
    side = size or 0
    return FIXED_SHAPES.get(name, (1 if name == "photographs" else channels or 0, side, side))


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
        if needed and options.get(key) is None:
            raise InputError(f"{key}: missing; data set {name!r} needs it")
    if name == "points" and (options.get("law") is None) != (options.get("train_size") is None):
        raise InputError("train_size: needed with a law, and only there; of a table, all rows but test_size are used")
