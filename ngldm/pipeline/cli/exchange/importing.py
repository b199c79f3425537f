"""`ngldm import`: a model of another library as a model file."""

from pathlib import Path
from typing import Annotated

import typer

from ngldm.io.registry import import_extra
from ngldm.pipeline.cli.generate import require_new_file


def import_(
    folder: Annotated[
        Path, typer.Argument(help="What diffusers' DDPMPipeline or DDIMPipeline saved: a UNet2DModel and a scheduler.")
    ],
    out: Annotated[Path, typer.Option(help="The model file to write, for example model.safetensors.")],
    dataset: Annotated[
        str, typer.Option(help="Name of the images that it was trained on, for information.")
    ] = "unknown",
    no_class: Annotated[
        int | None,
        typer.Option(help="Of a network with classes: the label that means no class, which guidance needs."),
    ] = None,
) -> None:
    """Make a model file of a diffusers pipeline, for `ngldm generate --model`."""
    require_new_file(out)
    import_extra("diffusers", "ngldm import")
    from ngldm.interop.diffusers.checkpoint import load_checkpoint

    model = load_checkpoint(folder, dataset, no_class)
    model.save(out)
    shape = " x ".join(str(size) for size in model.item_shape)
    of_classes = f", {len(model.classes.names)} classes" if model.classes else ""
    print(f"{out}: a network of {model.parameter_count} weights for images of {shape}{of_classes}")
