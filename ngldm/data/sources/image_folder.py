"""Any folder of images, or archive of one, as a data set: found, decoded in parallel, streamed to disk."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ngldm.data.dataset import SPLITS, Progress, Start
from ngldm.data.sources.archives import archive_stem, is_archive, unpack
from ngldm.data.sources.finding import find_images
from ngldm.data.sources.layout import FILE, Layout, arrange, understood
from ngldm.data.sources.pixels.npy import NpyAppender
from ngldm.data.sources.pixels.reader import UnusableImage, image_bytes
from ngldm.data.sources.pixels.skips import Skip, refusal, write_skips
from ngldm.data.sources.pixels.square import Decoded, Settings, decode_content
from ngldm.io.errors import InputError
from ngldm.io.files import entry, write_json

FAULTS = ("damaged", "too_large", "too_small", "link", "stray")  # reasons for which on_error "fail" stops
CHUNK = 256  # images in memory at a time


def image_folder(config: Mapping[str, object], folder: Path, raw: Path, start: Start) -> str:
    """Your own images: a folder, or a zip or tar archive of one. Decodes them into `folder`; returns the set's name.

    `folder` also gets skipped.csv (what was left out, with the reason) and layout.json (splits and classes as they
    were understood, with counts). The layouts are those of `ngldm.data.sources.layout.arrange`.

    Args:
        config: source (folder or archive), size, channels, min_side, test_size, seed, on_error ("fail" or "skip").
        start: called with the number of files, gives the function that is told how many are done.

    Raises:
        InputError: no such source; no images, or fewer than two in a split; a layout that is not understood; with
            on_error "fail" a file that is damaged, too large, too small, in no class or split, or a link out of the
            folder.
    """
    source = Path(entry(config, "source", str))
    if not source.exists():
        raise InputError(f"dataset.source: no such file or folder: {source}")
    if source.is_file() and not is_archive(source):
        raise InputError(f"dataset.source: {source} is neither a folder nor a zip or tar archive")
    with TemporaryDirectory(dir=folder.parent, prefix=".unpacked-") as unpacked:
        if source.is_file():
            unpack(source, Path(unpacked))
        _convert(Path(unpacked) if source.is_file() else source, config, folder, start)
    return archive_stem(source) if source.is_file() else source.resolve().name


def _convert(root: Path, config: Mapping[str, object], folder: Path, start: Start) -> None:
    settings = Settings(*(entry(config, key, int) for key in ("size", "channels", "min_side")))
    on_error = entry(config, "on_error", str)
    test_size = None if config.get("test_size") is None else entry(config, "test_size", int)
    try:
        found = find_images(root)
    except InputError as error:
        raise InputError(f"dataset.source: {error}") from None
    layout = arrange(found.names, test_size, entry(config, "seed", int))
    skips = [*found.skips, *layout.skips]
    faults = [skip for skip in skips if skip.reason in FAULTS]
    if faults and on_error == "fail":
        raise refusal(faults)
    progress = start(sum(len(layout.names[split]) for split in SPLITS))
    seen: set[bytes] = set()
    used, first_frames = {}, 0
    for split in SPLITS:
        files = decode_all(root, layout.names[split], settings, progress)
        path = folder / f"{split}.npy"
        used[split], skipped, frames = _write_split(path, settings, files, layout, seen, on_error)
        skips, first_frames = skips + skipped, first_frames + frames
        if len(used[split]) < 2:
            raise InputError(
                f"dataset.source: {len(used[split])} usable images for the {split} split of {root}, at least 2 are "
                f"needed ({len(found.names)} image files, {len(skips)} skipped)"
            )
    label_of = {kind: label for label, kind in enumerate(sorted({*used["train"], *used["test"]}))}
    for split in SPLITS:
        np.save(folder / f"{split}_labels.npy", np.array([label_of[kind] for kind in used[split]], dtype=np.int64))
    write_json(folder / FILE, understood(layout, used, skips, first_frames))
    write_skips(folder / "skipped.csv", skips)


def _write_split(
    path: Path,
    settings: Settings,
    files: Iterator[tuple[str, Decoded]],
    layout: Layout,
    seen: set[bytes],
    on_error: str,
) -> tuple[list[str], list[Skip], int]:
    """Write a split's images; returns their classes, the files left out, and how many had further frames.

    Args:
        seen: digests of the files written so far, in this split and others; grows.
    """
    classes: list[str] = []
    skips: list[Skip] = []
    more_frames = 0
    with NpyAppender(path, (settings.size, settings.size, settings.channels)) as array:
        for name, decoded in files:
            if isinstance(decoded.image, Skip):
                if on_error == "fail":
                    raise refusal([decoded.image])
                skips.append(decoded.image)
            elif decoded.digest in seen:
                skips.append(Skip(name, "duplicate", "the same bytes as an earlier file"))
            else:
                seen.add(decoded.digest)
                array.append(decoded.image[None])
                classes.append(layout.classes[name])
                more_frames += decoded.more_frames
    return classes, skips, more_frames


def decode_all(
    root: Path, names: Sequence[str], settings: Settings, progress: Progress
) -> Iterator[tuple[str, Decoded]]:
    """Each file's name and what it holds; in order, a chunk in memory at a time.

    Pillow decodes and resizes outside Python's lock, so that threads are enough.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(names), CHUNK):
            chunk = names[first : first + CHUNK]
            yield from zip(chunk, pool.map(lambda name: decode(root / name, name, settings), chunk), strict=True)
            progress(len(chunk))


def decode(path: Path, name: str, settings: Settings) -> Decoded:
    """One file as a square image, or why there is none."""
    try:
        content = image_bytes(path)
    except UnusableImage as error:
        return Decoded(Skip(name, error.reason, error.detail), b"")
    return decode_content(content, name, settings)
