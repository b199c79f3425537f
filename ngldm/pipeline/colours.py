"""One colour and one dash per noise, the same in every figure."""

from collections.abc import Sequence

# Four colours of Okabe and Ito and two more. Each has a contrast of at least 3:1 on a light and on a dark page (WCAG
# 2.2, 1.4.11). So they hardly differ in lightness, and some readers cannot tell them apart. So the dashes differ too.
INK = "#1b1b1b"  # of text and axes; `save_svg` replaces it by the colour of the page's text
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A48F0", "#94700A", INK)
DASHES = ("-", "--", "-.", ":")
PAPER_NOISES = ("gaussian", "laplace", "exponential", "uniform", "gumbel")  # as in conf/noise/paper.yaml
KNOWN = (*PAPER_NOISES, "exponential_uncentred")


def style(noise: str, noises: Sequence[str]) -> dict[str, str]:
    """Line colour and dash of a noise: the same in all figures of a report; for the known noises, in all reports."""
    order = [*KNOWN, *(n for n in noises if n not in KNOWN)]
    index = order.index(noise)
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index % len(DASHES)]}
