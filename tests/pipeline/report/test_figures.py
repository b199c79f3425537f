"""Figures: the same bytes from the same data, ink that follows the page, axes that suit the values."""

from pathlib import Path
from xml.etree import ElementTree

from ngldm.pipeline import colours
from ngldm.pipeline.report import figures


def test_figures_are_the_same_bytes_from_the_same_data(tmp_path: Path) -> None:
    history = {"laplace": [{"step": 1, "loss": 1.0, "heldout_loss": None}, {"step": 2, "loss": 0.5, "heldout_loss": 1}]}
    for name in ("a.svg", "b.svg"):
        figures.save_svg(figures.training(history), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_svg_ink_is_the_pages_and_the_line_the_noises(tmp_path: Path) -> None:
    rows = [{"noise": "laplace", "epoch": e, "metric": "fid", "value": 1.0 + e} for e in (1.0, 2.0)]
    figures.save_svg(figures.score_by_epoch(rows), tmp_path / "f.svg")
    svg = (tmp_path / "f.svg").read_text()
    ElementTree.fromstring(svg)  # still well-formed
    assert "prefers-color-scheme:dark" in svg
    assert "currentColor" in svg
    assert colours.style("laplace", ["laplace"])["color"].lower() in svg.lower()
    assert svg.count(colours.INK) == 1  # the light page's, in the style


def test_score_axis_is_logarithmic_only_over_a_wide_range() -> None:
    def scale(*values: float) -> str:
        rows = [{"noise": "a", "epoch": float(i), "metric": "fid", "value": v} for i, v in enumerate(values)]
        return figures.score_by_epoch(rows).axes[0].get_yscale()

    assert scale(1.0, 5.0) == "linear"
    assert scale(1.0, 50.0) == "log"
