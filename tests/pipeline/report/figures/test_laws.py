"""Figures of the noises: a panel each, and Theorem 1's bars, which stand side by side."""

from ngldm.pipeline.report.figures import laws
from ngldm.theory.tables import Density, Histogram


def test_each_noise_has_a_panel_with_its_density_and_the_gaussians() -> None:
    histogram = Histogram([-1.0, 0.0, 1.0], [0.5, 0.5])
    figure = laws.noises({"a": histogram, "b": histogram}, {"a": Density([-1.0, 1.0], [0.5, 0.5])})
    assert [panel.get_title() for panel in figure.axes] == ["a", "b"]
    assert [len(panel.lines) for panel in figure.axes] == [2, 1]


def test_the_ratios_of_noises_do_not_hide_each_other() -> None:
    common = {"forward": "marginal", "ratio": 1.01, "std_error": 0.02, "rms_ratio": 1.0, "rms_std_error": 0.0}
    rows = [{**common, "noise": noise, "steps": steps} for noise in ("a", "b") for steps in (1, 100)]
    figure = laws.theorem(rows, (1, 2, 2))
    figure.canvas.draw()
    (axes,) = figure.axes
    bars = [line for container in axes.containers for line in container.lines[2]]
    assert [[segment.tolist() for segment in bar.get_segments()] for bar in bars] == [
        [[[1.0, 0.97], [1.0, 1.05]], [[100.0, 0.97], [100.0, 1.05]]]  # two standard errors on each side
    ] * 2
    left, right = (bar.get_transform().transform((1.0, 1.0))[0] for bar in bars)
    assert right - left > 3
