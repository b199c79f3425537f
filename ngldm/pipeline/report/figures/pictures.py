"""Figures that are made of pictures, with their labels as vectors: for papers."""

from collections.abc import Mapping, Sequence
from typing import Any

from ngldm.pipeline.report.figures.drawing import styled, subplots

REAL = "real"  # the label of real images among those of the noises


@styled
def overview(pictures: Mapping[tuple[str, str], Any]) -> Any:
    """The first images: a row of the figure per noise, a column per sampler.

    Args:
        pictures: (noise, sampler) to a uint8 grid (H, W, C). `REAL` may stand for a noise.
    """
    noises = list(dict.fromkeys(noise for noise, _ in pictures))
    samplers = list(dict.fromkeys(sampler for _, sampler in pictures))
    figure, axes = subplots(len(noises), len(samplers), 5.2 * len(samplers), 1.4 * len(noises) + 0.3)
    for (noise, sampler), picture in pictures.items():
        cell = axes[noises.index(noise)][samplers.index(sampler)]
        _show(cell, picture)
        if noise == noises[0]:
            cell.set_title(sampler)
        if sampler == samplers[0]:
            cell.set_ylabel(noise.replace("_", "\n"))
    return figure


@styled
def trajectories(frames: Mapping[str, Sequence[Any]], levels: Mapping[str, Sequence[float]]) -> Any:
    """How an image emerges: a row per noise, from pure noise to the result; above each picture its level of noise.

    Args:
        frames: label of the noise to the pictures (H, W, C) of its row.
        levels: label of the noise to the level of noise of each picture; none if they are not known.
    """
    columns = max(len(row) for row in frames.values())
    figure, axes = subplots(len(frames), columns, 0.75 * columns + 0.8, 0.95 * len(frames) + 0.2)
    for cells, (noise, pictures) in zip(axes, frames.items(), strict=True):
        for number, cell in enumerate(cells):
            cell.set_axis_off()
            if number < len(pictures):
                cell.set_axis_on()
                _show(cell, pictures[number])
            if number < len(levels[noise]):
                cell.set_title(f"{levels[noise][number]:.2f}", fontsize=7, pad=2)
        cells[0].set_ylabel(noise.replace("_", "\n"), fontsize=8)
    return figure


@styled
def nearest(pictures: Mapping[str, Any], rows: int) -> Any:
    """Generated images and the training images that are nearest to them, a panel per set.

    Args:
        pictures: label of the set to a grid (H, W, C): above the generated images, below their neighbours.
        rows: of a grid.
    """
    figure, axes = subplots(len(pictures), 1, 5.2, 1.9 * len(pictures))
    names = ["generated", "nearest", *(f"{number}." for number in range(2, rows))]
    for [cell], (label, picture) in zip(axes, pictures.items(), strict=True):
        _show(cell, picture)
        height = picture.shape[0] / rows
        cell.set_yticks([(index + 0.5) * height for index in range(rows)], names, fontsize=7)
        cell.tick_params(length=0)
        cell.set_title(label)
    return figure


def _show(cell: Any, picture: Any) -> None:
    """A picture without axes."""
    cell.imshow(picture, cmap="gray" if picture.shape[-1] == 1 else None, vmin=0, vmax=255)
    cell.set(xticks=[], yticks=[])
    cell.grid(False)
    cell.spines[:].set_visible(False)
