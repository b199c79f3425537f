"""The report's pictures: samples beside real images, how images emerge, and the training images nearest to them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ngldm.data.dataset import Dataset, open_dataset
from ngldm.data.results.samples import asked_classes, load_samples
from ngldm.io.files import entry, read_json, require
from ngldm.io.images import UInt8Array, enlarge, grid, load_arrays, sample_grid, save_png
from ngldm.io.items import Items, are_points, as_images, class_picture, density, picture, trajectory_picture
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.report.figures import drawing
from ngldm.pipeline.report.figures import pictures as figures
from ngldm.pipeline.report.figures.points import scatter

ROWS, COLUMNS = 8, 16  # of a grid of samples
FEW = 2  # rows of such a grid for the further trainings of a noise
OVERVIEW = (3, 12)  # rows and columns of a cell of the overview


@dataclass
class Pictures:
    """What the page must know of the pictures that it shows.

    Attributes:
        samples: (noise, sampler) to (seed, name of the file) for each training.
        trajectories: noise to the levels of noise of its columns; none if they are not known.
        nearest: (noise, sampler) to the distances of the nearest neighbours, in the order of the columns.
        among: how many training images were looked at for them.
    """

    samples: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)
    trajectories: dict[str, list[float]] = field(default_factory=dict)
    nearest: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    among: int = 0


def write_pictures(params: Params, folder: Path) -> Pictures:
    """All pictures: of every training its samples; of the first one of each noise also what is shown in detail."""
    found, data = Pictures(), open_dataset(workspace.DATASET)
    (folder / "samples").mkdir()
    for noise in params.noises:
        for sampler in params.samplers:
            found.samples[noise, sampler] = [
                (params.training(label).seed, _samples(label, sampler, index, folder))
                for index, label in enumerate(params.labels_of(noise))
            ]
    if not data.points:
        save_png(sample_grid(real_images(data, ROWS * COLUMNS), ROWS, COLUMNS), folder / "real.png")
    _overview(params, data, folder)
    _trajectories(params, folder, found)
    _nearest(params, data, folder, found)
    shutil.copy(require(workspace.RECONSTRUCTIONS, "the stage `autoencoder`"), folder / "reconstructions.png")
    return found


def real_images(data: Dataset, count: int) -> UInt8Array:
    """Training images (count or fewer, H, W, C), always the same: random ones, as data sets may be sorted by class."""
    rows = np.random.default_rng(0).permutation(len(data.train))[:count]
    return as_images(data.train[rows])


def _samples(label: str, sampler: str, index: int, folder: Path) -> str:
    """Write the samples of a training, the `index`-th of its noise; returns the file's name."""
    name = f"samples/{label}-{sampler}.png"
    place = workspace.samples(label, sampler)
    images, _ = load_samples(place)
    if are_points(images):
        real = load_arrays(workspace.FURTHER, ("test",), "the stage `reference`")["test"]
        figure = scatter(real, images, f"{label}, {sampler}")
        drawing.save_png(figure, folder / name)
        drawing.save_pdf(figure, (folder / name).with_suffix(".pdf"))
    else:
        few = picture(images, rows=FEW, columns=COLUMNS)
        save_png(few if index else class_picture(images, asked_classes(place)), folder / name)
    return name


def _overview(params: Params, data: Dataset, folder: Path) -> None:
    """The first images of all noises and samplers in one figure, below real ones."""
    rows, columns = OVERVIEW
    cells: dict[tuple[str, str], UInt8Array] = {}
    for noise in (figures.REAL, *params.noises):
        for number, sampler in enumerate(params.samplers):
            if noise != figures.REAL:
                items, _ = load_samples(workspace.samples(params.labels_of(noise)[0], sampler))
            elif data.points:
                items = data.test
            else:
                items = real_images(data, (number + 1) * rows * columns)[number * rows * columns :]
            if len(items):
                cells[noise, sampler] = picture(items, rows=rows, columns=columns)
    figure = figures.overview(cells)
    drawing.save(figure, folder, "overview")
    drawing.save_png(figure, folder / "overview.png", dpi=110)


def _trajectories(params: Params, folder: Path, found: Pictures) -> None:
    """How images emerge with the last sampler. By default that one is deterministic, so they change smoothly."""
    rows: dict[str, list[UInt8Array]] = {}
    for noise in params.noises:
        place = workspace.samples(params.labels_of(noise)[0], params.samplers[-1])
        _, frames = load_samples(place)
        save_png(trajectory_picture(frames), folder / f"trajectory-{noise}.png")
        rows[noise] = [_first(frame) for frame in frames]
        known = read_json(place / "samples.json")
        found.trajectories[noise] = entry({"trajectory_levels": [], **known}, "trajectory_levels", list)
    drawing.save(figures.trajectories(rows, found.trajectories), folder, "trajectories")


def _first(frame: Items) -> UInt8Array:
    return density(frame) if are_points(frame) else as_images(frame)[0]


def _nearest(params: Params, data: Dataset, folder: Path, found: Pictures) -> None:
    """Generated images above the training images that are nearest to them. None for points, or older results."""
    shown: dict[str, UInt8Array] = {}
    rows = 0
    for noise in params.noises:
        label = params.labels_of(noise)[0]
        near: Mapping[str, Any] = entry(
            {"nearest": {}, **read_json(workspace.metrics("evaluate", label))}, "nearest", dict
        )
        for sampler in (sampler for sampler in params.samplers if sampler in near):
            numbers = np.array(near[sampler]["rows"], np.int64)
            images, _ = load_samples(workspace.samples(label, sampler))
            made = with_neighbours(as_images(images[: len(numbers)]), as_images(data.train), numbers)
            (folder / "nearest").mkdir(exist_ok=True)
            save_png(made, folder / "nearest" / f"{noise}-{sampler}.png")
            found.nearest[noise, sampler] = [distances[0] for distances in near[sampler]["distances"]]
            found.among = near[sampler]["among"]
            if sampler == params.samplers[-1]:
                shown[f"{noise}, {sampler}"], rows = made, 1 + numbers.shape[1]
    if shown:
        drawing.save(figures.nearest(shown, rows), folder, "nearest")


def with_neighbours(images: UInt8Array, train: UInt8Array, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> UInt8Array:
    """A grid: images (n, H, W, C) in the first row, below each the training images of its `numbers` (n, k)."""
    columns = [images, *(np.stack([train[number] for number in rank]) for rank in numbers.T)]
    return grid(enlarge(np.concatenate(columns), 32), len(images), padding=2)
