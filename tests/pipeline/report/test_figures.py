"""Figures: the same bytes from the same data, ink that follows the page, axes that suit the values."""

from pathlib import Path
from xml.etree import ElementTree

from ngldm.pipeline import colours
from ngldm.pipeline.report import figures


def test_figures_are_the_same_bytes_from_the_same_data(tmp_path: Path) -> None:
    one = [{"step": 1, "loss": 1.0, "heldout_loss": None}, {"step": 2, "loss": 0.5, "heldout_loss": 1}]
    history = {"laplace": [one]}
    for name in ("a.svg", "b.svg"):
        figures.save_svg(figures.training(history), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_svg_ink_is_the_pages_and_the_line_the_noises(tmp_path: Path) -> None:
    rows = [{"noise": "laplace", "epoch": e, "metric": "fid", "value": 1.0 + e, "std_error": None} for e in (1.0, 2.0)]
    figures.save_svg(figures.score_by_epoch(rows), tmp_path / "f.svg")
    svg = (tmp_path / "f.svg").read_text()
    ElementTree.fromstring(svg)  # still well-formed
    assert "prefers-color-scheme:dark" in svg
    assert "currentColor" in svg
    assert colours.style("laplace", ["laplace"])["color"].lower() in svg.lower()
    assert svg.count(colours.INK) == 1  # the light page's, in the style


def test_score_axis_is_logarithmic_only_over_a_wide_range() -> None:
    def scale(*values: float) -> str:
        common = {"noise": "a", "metric": "fid", "std_error": None}
        rows = [{**common, "epoch": float(i), "value": v} for i, v in enumerate(values)]
        return figures.score_by_epoch(rows).axes[0].get_yscale()

    assert scale(1.0, 5.0) == "linear"
    assert scale(1.0, 50.0) == "log"


def test_a_line_for_each_training_and_each_noise_once_in_the_legend() -> None:
    def losses(*values: float) -> list[dict]:
        return [{"step": i, "loss": value, "heldout_loss": value} for i, value in enumerate(values)]

    figure = figures.training({"laplace": [losses(3.0, 2.0), losses(4.0, 1.0)], "gaussian": [losses(5.0, 4.0)]})
    left, right = figure.axes
    for panel in (left, right):
        assert [line.get_ydata().tolist() for line in panel.lines] == [[3.0, 2.0], [4.0, 1.0], [5.0, 4.0]]
        assert len({line.get_color() for line in panel.lines}) == 2
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["laplace", "gaussian"]


def test_a_mean_has_its_standard_error_as_a_bar() -> None:
    point = {"noise": "a", "metric": "fid", "epoch": 1.0, "value": 3.0}
    axes = figures.score_by_epoch([{**point, "std_error": 0.5}]).axes[0]
    (bar,) = (line for container in axes.containers for line in container.lines[2])
    assert bar.get_segments()[0].tolist() == [[1.0, 2.5], [1.0, 3.5]]
    assert not figures.score_by_epoch([{**point, "std_error": None}]).axes[0].containers


def test_theorem_1_has_a_panel_for_each_forward_process_that_there_is() -> None:
    """A schedule without betas, such as that of flow matching, has no chain."""

    def panels(*forwards: str) -> list[str]:
        row = {"noise": "laplace", "steps": 10, "ratio": 1.1, "std_error": 0.01}
        figure = figures.theorem([{**row, "forward": forward} for forward in forwards], (2, 4, 4))
        assert figure.axes[-1].get_legend() is not None
        return [axis.get_title() for axis in figure.axes]

    assert panels("marginal") == ["one draw of D"]
    assert panels("marginal", "markov") == ["one draw of D", "T draws of D (equation 1)"]
