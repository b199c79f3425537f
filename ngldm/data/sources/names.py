"""The data sets and the options that each has, said once; without numpy: params.yaml is checked at once."""

from collections.abc import Mapping

from ngldm.io.errors import InputError, unknown

# Data set -> option -> whether it must be given. `source` and `seed` belong to all of them.
SOURCE_OPTIONS: dict[str, dict[str, bool]] = {
    "digits": {"test_size": True},
    "cifar10": {"mirror": False},
    "fashion_mnist": {"mirror": False},
    "image_folder": {"test_size": False, "size": True, "channels": True, "min_side": True, "on_error": True},
}
DOWNLOADED = tuple(name for name, options in SOURCE_OPTIONS.items() if "mirror" in options)


def check_source(name: str, options: Mapping[str, object]) -> None:
    """Check which options go with a data set.

    Args:
        options: without those that all data sets have; None is as good as not given.

    Raises:
        InputError: an unknown data set, an option that it does not have, or one that is missing.
    """
    if name not in SOURCE_OPTIONS:
        raise unknown("dataset.name", name, SOURCE_OPTIONS)
    own = SOURCE_OPTIONS[name]
    for key, value in options.items():
        if value is not None and key not in own:
            raise InputError(f"{key}: not an option of data set {name!r}, which has {sorted(own)}")
    for key, needed in own.items():
        if needed and options.get(key) is None:
            raise InputError(f"{key}: missing; data set {name!r} needs it")
