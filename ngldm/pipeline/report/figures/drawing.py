"""How figures are drawn and saved: one style, text that follows the page, and vectors for papers.

It needs no display.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

from ngldm.pipeline.colours import INK

MARKERS = "osD^vP*X"
SHIFT = 4.0  # points between the error bars of two noises at the same place
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.color": "#888888",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "auto",
    "svg.fonttype": "path",  # the same letters wherever it is opened
    "pdf.fonttype": 42,  # letters as a font that can be searched, and that journals accept
    "svg.hashsalt": "ngldm",  # the same bytes from the same data
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
DARK = f"<style>svg{{color:{INK}}}@media (prefers-color-scheme:dark){{svg{{color:#e8e8e8}}}}</style>"
Draw = TypeVar("Draw", bound=Callable[..., Any])


def styled(draw: Draw) -> Draw:
    """Decorator: draw under STYLE, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def subplots(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """A figure of that size in inches, and its array of axes (rows, columns)."""
    from matplotlib.figure import Figure  # without pyplot: no backend to choose, nothing to close

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


@styled
def save_svg(figure: Any, path: Path) -> None:
    """Write a figure whose text and axes take the page's colour: dark on a light page, light on a dark one."""
    from io import StringIO

    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue().replace(INK, "currentColor")
    head, opening, rest = svg.partition("<defs>")
    path.write_text(head + DARK + opening + rest, encoding="utf-8")


@styled
def save_png(figure: Any, path: Path, dpi: int = 130) -> None:
    """Write a figure on white, for pages that show no SVG."""
    figure.savefig(path, dpi=dpi, format="png", facecolor="white")


def save(figure: Any, folder: Path, name: str) -> None:
    """Write the figure as vectors: <name>.svg, which the page shows, and <name>.pdf, for papers."""
    save_svg(figure, folder / f"{name}.svg")
    save_pdf(figure, folder / f"{name}.pdf")


@styled
def save_pdf(figure: Any, path: Path) -> None:
    """Write a figure with dark text on no background, and its letters as a font."""
    figure.savefig(path, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})


def bars(
    axes: Any,
    points: Sequence[tuple[float, float, float | None]],
    look: Mapping[str, str],
    place: tuple[int, int],
    *,
    joined: bool = False,
    **options: Any,
) -> None:
    """Points (x, y, error) with bars of that error, a few points to the side, so that bars at one x do not hide others.

    Args:
        look: colour and dash, of the line and of the bars.
        place: the number of this series among how many.
        joined: whether a line joins the points.
        options: label and marker of the line.
    """
    from matplotlib.transforms import ScaledTranslation

    index, count = place
    shift = SHIFT * (index - (count - 1) / 2) / 72
    moved = axes.transData + ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans)
    x, y, errors = zip(*points, strict=True)
    line = look["linestyle"] if joined else "none"
    drawn = axes.plot(x, y, color=look["color"], linestyle=line, **options)
    if all(error is not None for error in errors):
        _, caps, lines = axes.errorbar(x, y, errors, fmt="none", capsize=2, ecolor=look["color"]).lines
        lines[0].set_linestyle(look["linestyle"])
        drawn += [*caps, *lines]
    for part in drawn:
        part.set_transform(moved)  # not before: the axes take their limits from where the points really are


def first_only(label: str) -> Iterator[str | None]:
    """The label of the first of several lines that look the same, and none for the others: so a legend has it once."""
    return chain([label], repeat(None))
