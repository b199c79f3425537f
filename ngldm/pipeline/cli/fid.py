"""`ngldm fid`: the FID of any two sets of images, as the command line of pytorch-fid computes it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.errors import InputError, unknown
from ngldm.io.limits import MAX_BATCH
from ngldm.pipeline.terminal import Device, progress
from ngldm.scoring.features.names import PRETRAINED

Source = Annotated[
    Path,
    typer.Argument(help="A folder of images, an .npy file of uint8 images (N, H, W, C), or an .npz of statistics."),
]


def fid(
    first: Source,
    second: Source,
    weights: Annotated[
        str | None,
        typer.Option(
            help="File with the weights of pytorch-fid's InceptionV3, or of DINOv2.",
            show_default="the file in the cache of torch or of the hub",
        ),
    ] = None,
    extractor: Annotated[str, typer.Option(help="inception, or dinov2 for FD-DINOv2.")] = "inception",
    resizing: Annotated[
        str, typer.Option(help="standard: as pytorch-fid and FD-DINOv2 have it; clean: as clean-fid.")
    ] = "standard",
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Also FID-infinity: for infinitely many images of the second set.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, max=MAX_BATCH, help="Images per call of the network.")] = 50,
    save: Annotated[
        Path | None, typer.Option(help="Write the statistics of the first set to this .npz, in pytorch-fid's format.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Frechet distance between two sets of images in the features of Inception or DINOv2. Also KID, if both are images.

    A folder's images are read as the data set image_folder reads them, subfolders included.
    Photos are turned upright, and transparent pixels become white. Only the first frame of an animation is read.
    """
    target = resolve_device(device)
    be_deterministic()
    from ngldm.scoring.distance.frechet import Moments, frechet_distance
    from ngldm.scoring.evaluation.asked.extrapolation import distance_at_infinity
    from ngldm.scoring.evaluation.kid import kid

    for source in (first, second):
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
    if save is not None and (save.suffix != ".npz" or save.is_dir()):
        raise InputError(f"--save: {save} must be the name of a file that ends in .npz")
    network = _network(extractor, weights, resizing, target)
    opened = [open_source(source, batch_size, network.dim) for source in (first, second)]
    if extrapolate:
        _require_line(second, opened[1], network.dim)
    statistics, features = [], []
    for source, (known, count, batches) in zip((first, second), opened, strict=True):
        if known:
            statistics.append(known)
            continue
        features.append(_features(network, source.name, count, batches))
        moments = Moments(network.dim).update(features[-1])
        statistics.append((moments.mean, moments.cov))
        if count <= network.dim:
            print(f"note: {source} has {count} images; below {network.dim + 1} the covariance is singular")
    distance = frechet_distance(*statistics[0], *statistics[1])
    _say(f"{network.metric}: {distance:.6f}", kid(features[0], features[1]) if len(features) == 2 else None)
    if extrapolate:
        print(f"{network.metric}_infinity: {distance_at_infinity(features[-1], *statistics[0]):.6f}")
    if save is not None:
        _save(save, *statistics[0])


def _say(distance: str, kernel: Any) -> None:
    """Print the distance, and KID where it is known."""
    spread = f" +- {kernel.std:.6f}" if kernel and kernel.std is not None else ""
    print(distance + (f"  KID: {kernel.mean:.6f}{spread}" if kernel else ""))
    if kernel and not spread:
        print("note: KID has no spread here, because there are fewer images than in two subsets")


def _network(extractor: str, weights: str | None, resizing: str, device: Any) -> Any:
    """The extractor of that name."""
    from ngldm.scoring.features.extractor import make_extractor

    if extractor not in PRETRAINED:
        raise unknown("--extractor", extractor, PRETRAINED)
    return make_extractor(extractor, classifier=Path(), weights=weights, resizing=resizing, device=device)


def _require_line(second: Path, opened: "Opened", dim: int) -> None:
    """Check that there are enough images to extrapolate their number.

    Raises:
        InputError: there are too few, or only their statistics are known.
    """
    from ngldm.scoring.evaluation.asked.extrapolation import smallest_set

    if opened[0]:
        raise InputError(f"--extrapolate: {second} holds statistics; the second set must be images")
    smallest_set(opened[1], dim, "--extrapolate")


def _features(extractor: Any, name: str, count: int, batches: Iterable[Any]) -> Any:
    """Features (count, D) of all batches."""
    import torch

    from ngldm.scoring.features.extractor import finite_features

    vectors = []
    with progress(f"features {name}", count) as advance:
        for batch in batches:
            vectors.append(finite_features(extractor, batch))
            advance(len(batch))
    return torch.cat(vectors)


def _save(path: Path, mu: Any, sigma: Any) -> None:
    from ngldm.data.reference import write_statistics

    try:
        write_statistics(path, mu, sigma)
    except (InputError, OSError) as error:
        raise InputError(f"--save: {path} cannot be written ({error})") from error


@dataclass(frozen=True)
class Batches:
    """Batches of images. Each loop over them reads the images again."""

    start: Callable[[], Iterator[Any]]

    def __iter__(self) -> Iterator[Any]:
        return self.start()


Opened = tuple[tuple[Any, Any] | None, int, Iterable[Any]]


def open_source(source: Path, batch_size: int, dim: int) -> Opened:
    """What a source holds: statistics (only of an .npz file, else None), the number of images, and their batches.

    This reads every image once, to find a damaged image before the long computation starts.

    Raises:
        InputError: the source cannot be scored.
    """
    from ngldm.data.reference import read_statistics

    if source.suffix.lower() == ".npz":
        return read_statistics(source, dim), 0, ()
    count, batches = read_batches(source, batch_size)
    with progress(f"check {source.name}", count) as advance:
        for batch in batches:
            advance(len(batch))
    return None, count, batches


def read_batches(source: Path, batch_size: int) -> tuple[int, Batches]:
    """The number of images, and batches of them: uint8 (B, H, W, 3 or 1). All images of a batch have the same size.

    Raises:
        InputError: there are fewer than two images, or the file is not an .npy file of images.
    """
    import numpy as np

    from ngldm.data.sources.archives import is_archive
    from ngldm.io.images import NPY_FAULTS

    if source.is_dir():
        files = _files(source)
        return len(files), Batches(lambda: _decoded(files, batch_size))
    if is_archive(source):
        raise InputError(f"{source}: unpack it, and name the folder")
    try:
        array = np.lib.format.open_memmap(source, mode="r")
    except NPY_FAULTS as error:
        raise InputError(f"{source}: not a folder, an .npz or a complete .npy file ({error})") from error
    if array.ndim != 4 or array.dtype != np.uint8 or array.shape[-1] not in (1, 3) or len(array) < 2:
        raise InputError(f"{source}: {array.dtype} {array.shape}; must be uint8 (N, H, W, 1 or 3) with N at least 2")
    return len(array), Batches(lambda: (array[i : i + batch_size] for i in range(0, len(array), batch_size)))


def _files(folder: Path) -> list[Path]:
    """The image files of a folder. A printed line says how many other files are left out, and why.

    Raises:
        InputError: the folder has fewer than two images, or several sets of images.
    """
    from ngldm.data.sources.finding import find_images
    from ngldm.data.sources.layout import require_one_set

    found = find_images(folder, links_out=True)
    require_one_set(found.names, folder)
    if len(found.names) < 2:
        raise InputError(f"{folder}: {len(found.names)} images, at least 2 are needed")
    reasons = Counter(skip.reason for skip in found.skips)
    if reasons:
        print(f"note: {folder}: left out: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
    return [folder / name for name in found.names]


def _decoded(files: list[Path], batch_size: int) -> Iterator[Any]:
    import numpy as np

    from ngldm.data.sources.pixels.reader import MAX_PIXELS, UnusableImage, image_bytes, read_image, to_pixels
    from ngldm.data.sources.pixels.skips import printable

    batch: list[Any] = []
    for file in files:
        try:
            array = to_pixels(read_image(image_bytes(file)).image.convert("RGB"))
        except UnusableImage as error:
            raise InputError(f"{printable(str(file))}: not an image that can be scored: {error}") from error
        full = len(batch) == batch_size or (1 + len(batch)) * array.size > 3 * MAX_PIXELS  # of one image or more
        if batch and (full or array.shape != batch[0].shape):
            yield np.stack(batch)
            batch = []
        batch.append(array)
    yield np.stack(batch)
