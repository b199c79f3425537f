"""One colour and one dash per noise, the same in every figure."""

from collections.abc import Sequence

# Four hues of Okabe and Ito and two more, each at 3:1 or better on a light and on a dark page (WCAG 2.2, 1.4.11). That
# leaves them little difference in lightness: so that colour alone tells no two neighbours apart, dashes differ too.
INK = "#1b1b1b"  # text and axes; `save_svg` makes it the page's own colour
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A48F0", "#94700A", INK)
DASHES = ("-", "--", "-.", ":")
PAPER_NOISES = (
    "gaussian",
    "laplace",
    "exponential",
    "uniform",
    "gumbel",
)  # in the paper's order; conf/noise/paper.yaml
KNOWN = (*PAPER_NOISES, "exponential_uncentred")


def style(noise: str, noises: Sequence[str]) -> dict[str, str]:
    """Line colour and dash of a noise: the same in every figure and, for the known ones, in every report."""
    order = [*KNOWN, *(n for n in noises if n not in KNOWN)]
    index = order.index(noise)
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index % len(DASHES)]}
