"""How figures are saved: the same bytes from the same data, ink that follows the page, vectors for papers."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from ngldm.pipeline import colours
from ngldm.pipeline.report.figures import drawing, plots


def test_figures_are_the_same_bytes_from_the_same_data(tmp_path: Path) -> None:
    one = [{"step": 1, "loss": 1.0, "heldout_loss": None}, {"step": 2, "loss": 0.5, "heldout_loss": 1}]
    history = {"laplace": [one]}
    for name in ("a.svg", "b.svg"):
        drawing.save_svg(plots.training(history), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_svg_ink_is_the_pages_and_the_line_the_noises(tmp_path: Path) -> None:
    rows = [{"noise": "laplace", "epoch": e, "metric": "fid", "value": 1.0 + e, "std_error": None} for e in (1.0, 2.0)]
    drawing.save_svg(plots.score_by_epoch(rows), tmp_path / "f.svg")
    svg = (tmp_path / "f.svg").read_text()
    ElementTree.fromstring(svg)  # still well-formed
    assert "prefers-color-scheme:dark" in svg
    assert "currentColor" in svg
    assert colours.style("laplace", ["laplace"])["color"].lower() in svg.lower()
    assert svg.count(colours.INK) == 1  # the light page's, in the style


DRAW = """
import sys
from pathlib import Path
from ngldm.pipeline.report.figures import drawing, plots
row = {"noise": "laplace", "epoch": 1.0, "metric": "fd", "value": 1.0, "std_error": 0.5}
drawing.save(plots.score_by_epoch([row]), Path(sys.argv[1]), "f")
"""


def test_another_process_writes_the_same_svg_and_pdf(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        subprocess.run([sys.executable, "-c", DRAW, str(folder)], check=True)
    for name in ("f.svg", "f.pdf"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    pdf = (folders[0] / "f.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert b"/TrueType" in pdf or b"/Type0" in pdf  # letters that can be searched; Type 3 is refused by some journals
    assert b"/Type3" not in pdf


def test_bars_keep_the_limits_of_their_points() -> None:
    """Also where a shift to the side has no meaning before the axis is logarithmic."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    look = colours.style("laplace", ["laplace"])
    drawing.bars(axes, [(10.0, 1.0, 0.5), (1000.0, 3.0, 0.5)], look, (0, 5), joined=True)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    assert 1 < low < 10 < 1000 < high < 10_000
    assert axes.get_ylim()[0] < 0.5


def test_the_legend_has_each_label_once() -> None:
    names = drawing.first_only("laplace")
    assert [next(names) for _ in range(3)] == ["laplace", None, None]
