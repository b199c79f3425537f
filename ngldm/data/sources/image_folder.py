"""Any folder of images, or archive of one, as a data set: found, decoded in parallel, streamed to disk.

Layout: `train/` and `test/` if both are there, else a random split; below that, a subfolder per class if there are any.
"""

import csv
import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ngldm.data.dataset import SPLITS
from ngldm.data.sources.archives import is_archive, unpack
from ngldm.data.sources.npy import NpyAppender
from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_PIXELS = 50_000_000  # of one image; decoding takes three bytes a pixel and more
CHUNK = 256  # images in memory at a time
SHOWN = 5  # names in an error message; skipped.csv has them all
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Skip:
    """A file that did not become an image of the data set."""

    name: str
    reason: str  # damaged, too_large, too_small, link, duplicate
    detail: str


@dataclass(frozen=True)
class Settings:
    """How files become images.

    Attributes:
        size: side in pixels after an antialiased resize of the shorter side and a centre crop.
        channels: 1 (grey) or 3 (RGB).
        min_side: a shorter side below this many pixels is refused.
    """

    size: int
    channels: int
    min_side: int


def image_folder(config: Mapping[str, Any], folder: Path, raw: Path, start: Callable[[int], Progress]) -> str:
    """Your own images: a folder or archive of JPEG, PNG or WebP. Decodes them into `folder`; returns the set's name.

    `folder` also gets skipped.csv: the files left out, with the reason.

    Args:
        config: source (folder or archive), size, channels, min_side, test_size, seed, on_error ("fail" or "skip").
        start: called with the number of files, gives the function that is told how many are done.

    Raises:
        InputError: no such source; no images, or fewer than two in a split; with on_error "fail" a file that is
            damaged, too large, too small or a link out of the folder.
    """
    source = Path(config["source"]).expanduser()
    if not source.exists():
        raise InputError(f"dataset.source: no such file or folder: {source}")
    if source.is_file() and not is_archive(source):
        raise InputError(f"dataset.source: {source} is neither a folder nor a zip or tar archive")
    with TemporaryDirectory(dir=folder.parent, prefix=".unpacked-") as unpacked:
        if source.is_file():
            unpack(source, Path(unpacked))
        _convert(_only_child(Path(unpacked)) if source.is_file() else source, config, folder, start)
    return source.name.split(".")[0]


def _only_child(folder: Path) -> Path:
    """Archives often hold one folder that holds everything."""
    children = list(folder.iterdir())
    only = len(children) == 1 and children[0].is_dir()
    return children[0] if only and not _is_split(children[0]) else folder


def _is_split(folder: Path) -> bool:
    return folder.name in SPLITS


def _convert(root: Path, config: Mapping[str, Any], folder: Path, start: Callable[[int], Progress]) -> None:
    settings = Settings(config["size"], config["channels"], config["min_side"])
    names, links = find_images(root)
    splits = split_names(names, config["test_size"], config["seed"])
    classes = sorted({class_of(name, split, splits.folders) for split in SPLITS for name in splits.names[split]})
    progress = start(len(names))
    skipped, seen = list(links), set[bytes]()
    if links and config["on_error"] == "fail":
        raise _refusal(links)
    for split in SPLITS:
        labels = []
        with NpyAppender(folder / f"{split}.npy", (settings.size, settings.size, settings.channels)) as array:
            for name, result, digest in decode_all(root, splits.names[split], settings, progress):
                if isinstance(result, Skip):
                    if config["on_error"] == "fail":
                        raise _refusal([result])
                    skipped.append(result)
                elif digest in seen:
                    skipped.append(Skip(name, "duplicate", "the same bytes as an earlier file"))
                else:
                    seen.add(digest)
                    array.append(result[None])
                    labels.append(classes.index(class_of(name, split, splits.folders)))
        if len(labels) < 2:
            raise InputError(
                f"dataset.source: {len(labels)} usable images for the {split} split of {root}, at least 2 are needed "
                f"({len(names)} image files, {len(skipped)} skipped)"
            )
        np.save(folder / f"{split}_labels.npy", np.array(labels, dtype=np.int64))
    with (folder / "skipped.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "reason", "detail"])
        writer.writerows([skip.name, skip.reason, skip.detail] for skip in skipped)


def skip_reasons(folder: Path) -> dict[str, int]:
    """Reasons for which files were left out of a data set's folder, with their numbers; none of other data sets."""
    file = folder / "skipped.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as content:
        return dict(sorted(Counter(row["reason"] for row in csv.DictReader(content)).items()))


def _refusal(skips: Sequence[Skip]) -> InputError:
    shown = "; ".join(f"{skip.name}: {skip.reason} ({skip.detail})" for skip in skips[:SHOWN])
    more = f" and {len(skips) - SHOWN} more" if len(skips) > SHOWN else ""
    return InputError(f"dataset.source: {shown}{more}. To leave such files out: dataset.on_error: skip")


def find_images(root: Path) -> tuple[list[str], list[Skip]]:
    """Names of the image files below `root`, relative and sorted, and the links that lead out of it.

    Raises:
        InputError: there are none.
    """
    real = root.resolve()
    names, links = [], []
    for parent, folders, files in os.walk(root):  # does not follow links to folders
        folders.sort()
        for entry in [*files, *(f for f in folders if (Path(parent) / f).is_symlink())]:
            path = Path(parent) / entry
            name = path.relative_to(root).as_posix()
            if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(real)):
                links.append(Skip(name, "link", f"leads to {path.readlink()}"))
            elif path.is_file() and path.suffix.lower() in SUFFIXES and not entry.startswith("."):
                names.append(name)
    if not names:
        raise InputError(f"dataset.source: no image ({', '.join(SUFFIXES)}) in {root}")
    return sorted(names), links


@dataclass(frozen=True)
class Splits:
    """File names of each split, and whether they come from folders of that name."""

    names: Mapping[str, list[str]]
    folders: bool


def split_names(names: Sequence[str], test_size: int | None, seed: int) -> Splits:
    """By the folders train/ and test/ if every file lies in one of them and both have some, else at random.

    Raises:
        InputError: a random split is needed and `test_size` is missing or leaves no two images on each side.
    """
    by_folder = {split: [name for name in names if name.startswith(f"{split}/")] for split in SPLITS}
    if all(by_folder.values()) and sum(map(len, by_folder.values())) == len(names):
        return Splits(by_folder, True)
    if test_size is None or not 2 <= test_size <= len(names) - 2:
        raise InputError(
            f"dataset.test_size: {test_size}; the folder has no train/ and test/, so it says how many of the "
            f"{len(names)} images are for testing, at least 2 on each side"
        )
    test = set(random.Random(seed).sample(list(names), test_size))
    return Splits({"train": [n for n in names if n not in test], "test": sorted(test)}, False)


def class_of(name: str, split: str, folders: bool) -> str:
    """The class subfolder of a file, "" if it lies in none."""
    parts = (name.removeprefix(f"{split}/") if folders else name).split("/")
    return parts[0] if len(parts) > 1 else ""


def decode_all(
    root: Path, names: Sequence[str], settings: Settings, progress: Progress
) -> Iterator[tuple[str, UInt8Array | Skip, bytes]]:
    """Name, image or why there is none, and a digest of the file's bytes; in order, a chunk in memory at a time.

    Pillow decodes and resizes outside Python's lock, so that threads are enough.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(names), CHUNK):
            chunk = names[first : first + CHUNK]
            for name, (result, digest) in zip(
                chunk, pool.map(lambda name: decode(root / name, name, settings), chunk), strict=True
            ):
                yield name, result, digest
            progress(len(chunk))


def decode(path: Path, name: str, settings: Settings) -> tuple[UInt8Array | Skip, bytes]:
    """One file to (size, size, channels), or why not, and a digest of its bytes."""
    from io import BytesIO

    try:
        content = path.read_bytes()
    except OSError as error:
        return Skip(name, "damaged", f"cannot be read ({error.strerror or error})"), b""
    digest = hashlib.blake2b(content, digest_size=16).digest()
    try:
        with Image.open(BytesIO(content), formats=["JPEG", "PNG", "WEBP"]) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:  # before anything is decoded
                return Skip(name, "too_large", f"{width}x{height} pixels, at most {MAX_PIXELS}"), digest
            if min(width, height) < settings.min_side:
                detail = f"{width}x{height} pixels, dataset.min_side is {settings.min_side}"
                return Skip(name, "too_small", detail), digest
            image.load()
            return to_square(image, settings), digest
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        return Skip(name, "damaged", f"not a JPEG, PNG or WebP image ({type(error).__name__})"), digest
    except MemoryError:  # of this machine, not of the file
        raise
    except (
        Exception
    ) as error:  # Pillow raises whatever its parsers stumble over: struct.error, KeyError, TypeError, ...
        return Skip(name, "damaged", str(error) or type(error).__name__), digest


def to_square(image: Image.Image, settings: Settings) -> UInt8Array:
    """Upright by EXIF, any mode to grey or RGB on white, shorter side to `size`, centre crop."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey: Pillow's own conversion clips at 255
        scale = 255.0 / 65535.0
        image = Image.fromarray(np.rint(np.asarray(image, dtype=np.float64) * scale).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if settings.channels == 1 else "RGB")
    image = ImageOps.fit(image, (settings.size, settings.size), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8).reshape(settings.size, settings.size, settings.channels)
