"""Figures made of pictures: what stands in which cell, and what is written there."""

import numpy as np

from ngldm.pipeline.report.figures.pictures import REAL, nearest, overview, trajectories


def grey(value: int) -> np.ndarray:
    return np.full((4, 6, 1), value, np.uint8)


def test_the_overview_has_a_row_per_noise_and_a_column_per_sampler() -> None:
    cells = {(n, s): grey(10 * i + j) for i, n in enumerate((REAL, "laplace")) for j, s in enumerate(("ddim", "auto"))}
    figure = overview(cells)
    shown = [int(axes.images[0].get_array().max()) for axes in figure.axes]
    assert shown == [0, 1, 10, 11]
    assert [axes.get_title() for axes in figure.axes] == ["ddim", "auto", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["real", "", "laplace", ""]


def test_a_trajectory_says_the_level_of_noise_of_each_picture() -> None:
    frames = {"a": [grey(0), grey(1), grey(2)], "b": [grey(3), grey(4)]}
    figure = trajectories(frames, {"a": [1.0, 0.5, 0.0], "b": []})
    assert [axes.get_title() for axes in figure.axes] == ["1.00", "0.50", "0.00", "", "", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 1, 0]


def test_neighbours_are_named_by_their_rank() -> None:
    (axes,) = nearest({"laplace, auto": grey(1)}, 4).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["generated", "nearest", "2.", "3."]
    assert axes.get_title() == "laplace, auto"
