"""The curve of `ngldm guidance`."""

from collections.abc import Mapping, Sequence
from typing import Any

from ngldm.pipeline.colours import PALETTE
from ngldm.pipeline.report.figures.drawing import styled, subplots


@styled
def curve(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Left the Frechet distance by scale, in the middle against precision and recall, right what each scale gives.

    In the middle a point is a scale, which is written beside it.

    Args:
        rows: `scale`, `metric`, `distance`, `spread`, `precision`, `recall` and `class_accuracy`, which may be None.
    """
    figure, [(left, middle, right)] = subplots(1, 3, 11.0, 3.4)
    scales, distances = ([row[key] for row in rows] for key in ("scale", "distance"))
    left.errorbar(scales, distances, [row["spread"] for row in rows], marker="o", capsize=2, color=PALETTE[0])
    left.set(xlabel="guidance scale", ylabel=f"{rows[0]['metric']}, lower is better", ylim=(0.0, None))
    for name, marker, colour in (("precision", "o", PALETTE[0]), ("recall", "s", PALETTE[1])):
        values = [row[name] for row in rows]
        middle.plot(values, distances, marker=marker, color=colour, label=name)
        right.plot(scales, values, marker=marker, color=colour, label=name)
        for scale, value, distance in zip(scales, values, distances, strict=True):
            middle.annotate(f"{scale:g}", (value, distance), xytext=(4, 3), textcoords="offset points", fontsize=7)
    middle.set(xlabel="precision or recall", ylabel=rows[0]["metric"], ylim=(0.0, None))
    middle.legend()
    if all(row["class_accuracy"] is not None for row in rows):
        right.plot(scales, [row["class_accuracy"] for row in rows], "^-", color=PALETTE[2], label="in the asked class")
    right.set(xlabel="guidance scale", ylabel="share of images", ylim=(0.0, 1.02))
    right.legend()
    return figure
