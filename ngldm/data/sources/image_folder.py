"""Your own images as a data set: a folder, or an archive of one; found, decoded in parallel, written row by row.

If every image lies in `train/` or `test/`, these are the splits; else the split is random. Below that, subfolders are
classes.
"""

import csv
import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ngldm.data.dataset import SPLITS, Progress, Start
from ngldm.data.sources.archives import is_archive, unpack
from ngldm.data.sources.npy import NpyAppender
from ngldm.io.errors import InputError
from ngldm.io.files import entry
from ngldm.io.images import UInt8Array

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_PIXELS = 50_000_000  # of one image; decoding takes three bytes a pixel and more
CHUNK = 256  # images in memory at a time
SHOWN = 5  # names in an error message; the file SKIPPED has them all
SKIPPED = "skipped.csv"


@dataclass(frozen=True)
class Skip:
    """A file that is left out.

    Attributes:
        name: relative to the source.
        reason: damaged, too_large, too_small, link or duplicate.
    """

    name: str
    reason: str
    detail: str


Decoded = tuple[str, UInt8Array | Skip, bytes]  # a file's name, its image or why there is none, a digest of its bytes


@dataclass(frozen=True)
class Settings:
    """How files become images.

    Attributes:
        size: side of the result in pixels: the shorter side is resized to it, antialiased, and the centre is cut out.
        channels: 1 (grey) or 3 (RGB).
        min_side: an image whose shorter side has fewer pixels is left out.
    """

    size: int
    channels: int
    min_side: int


def image_folder(config: Mapping[str, object], folder: Path, raw: Path, start: Start) -> str:
    """Your own images: a folder or archive of JPEG, PNG or WebP. Decodes them into `folder`; returns the set's name.

    `folder` also gets skipped.csv: the files left out, with the reason.

    Args:
        config: source (folder or archive), size, channels, min_side, test_size, seed, on_error ("fail" or "skip").
        start: called with the number of files, gives the function that is told how many are done.

    Raises:
        InputError: no such source; no images, or fewer than two in a split; with on_error "fail" a file that is
            damaged, too large, too small or a link out of the folder.
    """
    source = Path(entry(config, "source", str)).expanduser()
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
    """The folder in which everything lies: archives often hold one folder with all else inside."""
    children = list(folder.iterdir())
    only = len(children) == 1 and children[0].is_dir()
    return children[0] if only and not _is_split(children[0]) else folder


def _is_split(folder: Path) -> bool:
    return folder.name in SPLITS


class LeftOut:
    """The files that are left out. With `on_error` "fail" the first that is not a mere duplicate stops the work."""

    def __init__(self, on_error: str) -> None:
        self.on_error = on_error
        self.skips: list[Skip] = []

    def add(self, *skips: Skip) -> None:
        bad = [skip for skip in skips if skip.reason != "duplicate"]
        if bad and self.on_error == "fail":
            shown = "; ".join(f"{skip.name}: {skip.reason} ({skip.detail})" for skip in bad[:SHOWN])
            more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
            raise InputError(f"dataset.source: {shown}{more}. To leave such files out: dataset.on_error: skip")
        self.skips += skips

    def write(self, path: Path) -> None:
        """As CSV: name, reason, detail."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "reason", "detail"])
            writer.writerows([skip.name, skip.reason, skip.detail] for skip in self.skips)


def _convert(root: Path, config: Mapping[str, object], folder: Path, start: Start) -> None:
    """Decode the images below `root` into the arrays of both splits, in `folder`."""
    settings = Settings(*(entry(config, key, int) for key in ("size", "channels", "min_side")))
    names, links = find_images(root)
    test_size = None if config.get("test_size") is None else entry(config, "test_size", int)
    splits = split_names(names, test_size, entry(config, "seed", int))
    classes = sorted({class_of(name, split, splits.folders) for split in SPLITS for name in splits.names[split]})
    left_out = LeftOut(entry(config, "on_error", str))
    left_out.add(*links)
    progress, seen = start(len(names)), set[bytes]()
    for split in SPLITS:
        labels = []
        decoded = decode_all(root, splits.names[split], settings, progress)
        with NpyAppender(folder / f"{split}.npy", (settings.size, settings.size, settings.channels)) as array:
            for name, image in _usable(decoded, left_out, seen):
                array.append(image[None])
                labels.append(classes.index(class_of(name, split, splits.folders)))
        if len(labels) < 2:
            raise InputError(
                f"dataset.source: {len(labels)} usable images for the {split} split of {root}, at least 2 are needed "
                f"({len(names)} image files, {len(left_out.skips)} skipped)"
            )
        np.save(folder / f"{split}_labels.npy", np.array(labels, dtype=np.int64))
    left_out.write(folder / SKIPPED)


def skip_reasons(folder: Path) -> dict[str, int]:
    """How many files were left out of a data set's folder for each reason; empty for other data sets."""
    file = folder / SKIPPED
    if not file.is_file():
        return {}
    with file.open(newline="") as content:
        return dict(sorted(Counter(row["reason"] for row in csv.DictReader(content)).items()))


def _usable(decoded: Iterable[Decoded], left_out: LeftOut, seen: set[bytes]) -> Iterator[tuple[str, UInt8Array]]:
    """Names and images of the files that are images and were not seen before."""
    for name, result, digest in decoded:
        if isinstance(result, Skip):
            left_out.add(result)
        elif digest in seen:
            left_out.add(Skip(name, "duplicate", "the same bytes as an earlier file"))
        else:
            seen.add(digest)
            yield name, result


def find_images(root: Path) -> tuple[list[str], list[Skip]]:
    """Names of the image files below `root`, relative and sorted, and the links that lead out of it.

    Raises:
        InputError: there are none.
    """
    real = root.resolve()
    names, links = [], []
    for parent, folders, files in os.walk(root):  # does not follow links to folders
        folders.sort()
        for file in [*files, *(f for f in folders if (Path(parent) / f).is_symlink())]:
            path = Path(parent) / file
            name = path.relative_to(root).as_posix()
            if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(real)):
                links.append(Skip(name, "link", f"leads to {path.readlink()}"))
            elif path.is_file() and path.suffix.lower() in SUFFIXES and not file.startswith("."):
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


def decode_all(root: Path, names: Sequence[str], settings: Settings, progress: Progress) -> Iterator[Decoded]:
    """Decode files in threads, in order, `CHUNK` of them in memory at a time.

    Threads are enough: Pillow decodes and resizes without holding Python's lock.
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
    """One file as an image (size, size, channels), or why it is none, and a digest of its bytes."""
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
    except Exception as error:  # of Pillow's parsers, which raise errors of many kinds: struct.error, KeyError, ...
        return Skip(name, "damaged", str(error) or type(error).__name__), digest


def to_square(image: Image.Image, settings: Settings) -> UInt8Array:
    """An image of any mode as uint8 (size, size, channels): turned as its EXIF says, transparent parts made white."""
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
