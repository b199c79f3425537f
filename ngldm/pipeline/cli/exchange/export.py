"""`ngldm export`: a trained model in the form of another library."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ngldm.io.errors import InputError, unknown
from ngldm.io.registry import import_extra
from ngldm.pipeline import workspace
from ngldm.pipeline.cli.catalogue import complete_model
from ngldm.pipeline.cli.generate import model_file

FORMATS = ("diffusers",)


def export(
    folder: Annotated[Path, typer.Argument(help="New or empty folder for the pipeline.")],
    noise: Annotated[
        str | None,
        typer.Option(
            help="Export models/<noise>/model.safetensors, with its scores of metrics/evaluate.",
            autocompletion=complete_model,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Instead of --noise: a model file, or an MLflow address such as models:/ngldm-laplace@best."),
    ] = None,
    format: Annotated[str, typer.Option(help="diffusers.")] = "diffusers",
    license: Annotated[
        str, typer.Option(help="Of the weights, for the model card, as hubs spell it: apache-2.0, cc-by-4.0, ...")
    ] = "unknown",
    push: Annotated[
        str | None, typer.Option(help="Then upload the folder to this repository of the Hugging Face hub: owner/name.")
    ] = None,
) -> None:
    """Write a model as a folder that `DiffusionPipeline.from_pretrained` loads. It gives the same images."""
    if format not in FORMATS:
        raise unknown("--format", format, FORMATS)
    if (noise is None) == (model is None):
        raise InputError("--noise, --model: give exactly one of them")
    import_extra("diffusers", "--format diffusers")
    from ngldm.interop.diffusers import export as diffusers_export
    from ngldm.io.files import entry, read_json
    from ngldm.model import load_model

    with TemporaryDirectory() as downloaded:
        loaded = load_model(model_file(noise, model, Path(downloaded)))
    file = workspace.metrics("evaluate", noise) if noise else None
    scores = entry(read_json(file, "samplers"), "samplers", dict, file) if file and file.exists() else {}
    diffusers_export.export(loaded, folder, push or folder.resolve().name, scores, license)
    print(
        f"pipeline in {folder}; load it with diffusers.DiffusionPipeline.from_pretrained(..., trust_remote_code=True)"
    )
    if push:
        print(f"uploaded to {diffusers_export.push(folder, push)}")
