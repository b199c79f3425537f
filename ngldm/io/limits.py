"""How much ngldm takes from a file, an archive or a request, so that none of them can fill the memory or the disk.

Most limits are far above what anybody uses, and fixed. Some can be met by honest data: an environment variable raises
them. No torch and no NumPy here, because params.yaml is checked with these numbers.

| variable | limits | default |
| --- | --- | --- |
| NGLDM_MAX_UNPACKED | bytes that an archive or a compressed array unpacks to | 200 GiB |
| NGLDM_MAX_RATIO | how many times its own size an archive may unpack to, beyond the first `FREE_BYTES` | 1000 |
| NGLDM_MAX_MEMBERS | files in an archive, images in a shard | 20 million |
| NGLDM_MAX_CELLS | numbers in a table, or in an array that is read whole | 2^30 |
| NGLDM_MAX_SECONDS | seconds that a served model works on one request | 600 |
"""

import os
from collections.abc import Mapping

from ngldm.io.errors import InputError

MAX_STEPS = 10**9  # optimiser steps, and other counts of a training
MAX_ITEMS = 10**8  # images or points of one set
MAX_BATCH = 10**6  # of them at a time
MAX_T = 10**6  # timesteps of a schedule
MAX_WIDTH = 2**16  # channels of a layer, of an image, and columns of points
MAX_DEPTH = 1000  # layers of one kind
MAX_BLOCKS = 100  # blocks on a level
MAX_LEVELS = 16
MAX_SIDE = 2**15  # pixels of an image that a model makes or learns
MAX_VALUES = 2**28  # numbers of one item or latent
MAX_REPEATS = 1000  # seeds, rows and columns of a picture, parallel processes
MAX_AVERAGED = 1000  # draws for each value; the mean of so many is a Gaussian for all practical purposes
MAX_DRAWS = 10_000  # the same, where noises are made of each other
MAX_REAL = 2.0**64  # any number of the settings; float32 can still hold its square
MAX_LR = 1000.0  # learning rate
MAX_PATH = 4096  # characters of a text of the settings; no longer path can be opened
MAX_NESTED = 50  # lists and mappings inside each other, in JSON and YAML
MAX_NODES = 200_000  # values in a file of settings, those behind aliases counted each time
MAX_ENTRIES = 20_000_000  # values in a file of JSON, as the index of many shards
MAX_TEXT = 4 * 2**20  # bytes of a file of settings
MAX_JSON = 2**30  # bytes of a file of JSON: the index of many shards is large
MAX_IMAGE_FILE = 2**29  # bytes of one image file
FREE_BYTES = 2**28  # an archive of whatever ratio may unpack to so many

_RAISED = {
    "NGLDM_MAX_UNPACKED": 200 * 2**30,
    "NGLDM_MAX_RATIO": 1000,
    "NGLDM_MAX_MEMBERS": 20_000_000,
    "NGLDM_MAX_CELLS": 2**30,
    "NGLDM_MAX_SECONDS": 600,
}


def limit(variable: str) -> int:
    """A limit that can be raised: the environment variable of this name, else the default.

    Raises:
        InputError: the variable is no whole number of at least 1.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return _RAISED[variable]
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 18 and int(text) >= 1):
        raise InputError(f"{variable}: {text[:40]!r} must be a whole number, at least 1")
    return int(text)


def require_unpacked(source: str, unpacked: int, packed: int) -> None:
    """Check how much comes out of a compressed file, before or while it is read.

    Args:
        source: what the message begins with.
        unpacked: bytes so far, the next ones included.
        packed: bytes of the compressed file.

    Raises:
        InputError: too many in all, or too many for its size, as in an archive that is made to fill a disk.
    """
    if unpacked > (most := limit("NGLDM_MAX_UNPACKED")):
        raise InputError(f"{source} unpacks to more than {most} bytes; NGLDM_MAX_UNPACKED raises this limit")
    if unpacked > max(FREE_BYTES, packed * (ratio := limit("NGLDM_MAX_RATIO"))):
        raise InputError(
            f"{source} has {packed} bytes and unpacks to {unpacked} or more, above {ratio} times as many; "
            "if you trust it, NGLDM_MAX_RATIO raises this limit"
        )


def require_members(source: str, count: int) -> None:
    """Check the number of files in an archive.

    Raises:
        InputError: there are too many.
    """
    if count > (most := limit("NGLDM_MAX_MEMBERS")):
        raise InputError(f"{source} has more than {most} files; NGLDM_MAX_MEMBERS raises this limit")


def require_cells(source: str, count: int) -> None:
    """Check how many numbers a table or an array has, before it is read.

    Raises:
        InputError: there are too many.
    """
    if count > (most := limit("NGLDM_MAX_CELLS")):
        raise InputError(f"{source}: {count} numbers, above {most}; NGLDM_MAX_CELLS raises this limit")


def require_values(key: str, shape: tuple[int, ...]) -> None:
    """Check the shape of one item: (C, H, W) of an image or a latent, (d,) of a point.

    Raises:
        InputError: a number is below 1, or there are too many numbers.
    """
    total = 1
    for size in shape:
        total *= size
    if min(shape, default=0) < 1 or total > MAX_VALUES:
        raise InputError(f"{key}: {list(shape)} must be whole numbers above 0 whose product is at most {MAX_VALUES}")


def require_shallow(source: str, content: object, most: int = MAX_NODES) -> None:
    """Check what was read from a file: lists and mappings in at most `MAX_NESTED` others, at most `most` values.

    Raises:
        InputError: they are too deep or too many.
    """
    count, layer = 0, [content]
    for _ in range(MAX_NESTED):
        count += len(layer)
        if count > most:
            raise InputError(f"{source}: more than {most} values")
        layer = [inner for outer in layer for inner in _inside(outer)]
        if not layer:
            return
    raise InputError(f"{source}: more than {MAX_NESTED} lists or mappings inside each other")


def _inside(content: object) -> list[object]:
    if isinstance(content, Mapping):
        return list(content.values())
    return list(content) if isinstance(content, list | tuple) else []
