"""The options of classes and guidance, which several commands have."""

from typing import Annotated

import typer

Class = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        help="Name or number of a class; several by repeating it, and the images are of each in turn.",
        show_default="all, in the proportions of the training images",
    ),
]
GuidanceScale = Annotated[
    float | None,
    typer.Option("--guidance-scale", min=0.0, help="Of a model with classes: above 1 for clearer images of a class."),
]
GuidanceRescale = Annotated[
    float | None,
    typer.Option(
        "--guidance-rescale", min=0.0, max=1.0, help="How far the guided x_0 gets back the deviation without guidance."
    ),
]
GuidanceSigmaMin = Annotated[
    float | None, typer.Option("--guidance-sigma-min", min=0.0, help="Guidance only at noise levels above this.")
]
GuidanceSigmaMax = Annotated[
    float | None, typer.Option("--guidance-sigma-max", min=0.0, help="Guidance only at noise levels up to this.")
]
