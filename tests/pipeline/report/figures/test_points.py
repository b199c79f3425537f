"""The figures of points."""

import numpy as np
import pytest

from ngldm.pipeline.report.figures.points import scatter, tails

CURVE = {
    "shares": [0.1, 0.01],
    "real": [1.0, 2.0],
    "training": [1.0, 2.5],
    "ancestral": [3.0, None],
    "auto": [1.0, 4.0],
}


def test_the_tail_plot_has_a_panel_per_sampler_and_leaves_gaps_out() -> None:
    figure = tails({"gaussian": [CURVE]}, ["ancestral", "auto"])
    drawn = {
        panel.get_title(): {line.get_label(): line.get_xydata().tolist() for line in panel.lines}
        for panel in figure.axes
    }
    assert drawn["ancestral"]["gaussian"] == [[3.0, 0.1]]
    assert drawn["auto"]["gaussian"] == [[1.0, 0.1], [4.0, 0.01]]
    assert drawn["auto"]["real points"] == [[1.0, 0.1], [2.0, 0.01]]
    assert {panel.get_xscale() for panel in figure.axes} == {"log"}


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_scatter_shows_both_on_the_real_points_axes(dim: int) -> None:
    real = np.random.default_rng(0).normal(size=(1000, dim))
    figure = scatter(real, real[:10] * 100.0, "laplace, ddim")
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("real points", "laplace, ddim")
    assert left.get_xlim() == right.get_xlim()
    assert 3.0 < left.get_xlim()[1] < 5.0  # 1000 normal draws reach to about 3.2
    assert len(left.lines[0].get_xdata()) == 1000
