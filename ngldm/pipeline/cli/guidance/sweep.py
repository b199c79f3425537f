"""`ngldm guidance`: sample a model with classes at several guidance scales, and score each set. It trains nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.errors import InputError
from ngldm.pipeline import workspace
from ngldm.pipeline.cli.generate import ModelFile, SamplerName, model_file, require_new_folder
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.config.sections import EvaluateParams
from ngldm.pipeline.terminal import Device, progress, summary
from ngldm.sampling.names import MAX_SEED

if TYPE_CHECKING:
    from ngldm.io.items import Items
    from ngldm.sampling.generator import Generator
    from ngldm.scoring.distance.scorer import Scorer

SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)
SHOWN = 16  # images of each scale in the picture
COLUMNS = ("scale", "network_calls", "distance", "spread", "precision", "recall", "class_accuracy")


def guidance(
    out: Annotated[Path, typer.Option(help="New or empty folder for the table, the curve and a picture of images.")],
    noise: Annotated[str | None, typer.Option(help="Use models/<noise>/model.safetensors (as laplace-s1).")] = None,
    model: ModelFile = None,
    scale: Annotated[
        list[float] | None,
        typer.Option(help="A guidance scale; several by repeating it. 1 is no guidance.", show_default="1 1.5 2 3 4"),
    ] = None,
    num_images: Annotated[int, typer.Option(min=2, help="Images of each scale, of all classes.")] = 1000,
    sampler: SamplerName = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Inference steps. Required with --sampler.")] = None,
    guidance_rescale: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Deviation that x_0 gets back.")
    ] = None,
    guidance_sigma_min: Annotated[float | None, typer.Option(min=0.0, help="Guidance above this noise level.")] = None,
    guidance_sigma_max: Annotated[float | None, typer.Option(min=0.0, help="Guidance up to this noise level.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same noise at every scale.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per network call.")] = 250,
    device: Device = "auto",
) -> None:
    """Score a model with classes at several guidance scales.

    Each set of images gets Frechet distance, precision, recall and the share of images that are in the class that was
    asked for, against data/reference.
    """
    if (noise is None) == (model is None):
        raise InputError("--noise, --model: give exactly one of them")
    if (sampler is None) != (steps is None):
        raise InputError("--sampler, --steps: give both or neither")
    require_new_folder(out)
    target = resolve_device(device)
    be_deterministic()
    from ngldm.sampling.generator import load
    from ngldm.scoring.distance.scorer import open_scorer

    with TemporaryDirectory() as folder:
        generator = load(model_file(noise, model, Path(folder)), target)
    if len(generator.model.item_shape) == 1:
        raise InputError("guidance: the model makes points, which have no classifier; only images can be scored so")
    chosen = {"method": sampler, "num_inference_steps": steps}
    guided = {"guidance_rescale": guidance_rescale, "guidance_sigma_min": guidance_sigma_min}
    guided |= {"guidance_sigma_max": guidance_sigma_max}
    settings = {one: _settings(one, chosen, guided) for one in sorted(set(scale or SCALES))}
    for options in settings.values():
        generator.options(**options)  # before any work
    config = load_params().evaluate
    scorer = open_scorer(
        workspace.REFERENCE, num_images, extractor=config.extractor, weights=config.weights, device=target
    )
    images: dict[float, Items] = {}
    for one, options in settings.items():
        with progress(f"scale {one:g}", num_images * generator.options(**options).num_inference_steps, "steps") as tell:
            images[one] = generator.sample(num_images, seed, batch_size=batch_size, progress=tell, **options)
    rows = _score(generator, images, settings, scorer, config)
    _write(out, rows, images)
    best = min(rows, key=lambda row: row["distance"])
    summary("guidance", {f"lowest {best['metric']}": best["distance"], "at scale": best["scale"], "folder": out})


def _settings(scale: float, chosen: Mapping[str, Any], guided: Mapping[str, Any]) -> dict[str, Any]:
    """The options of one scale; where it is 1, the others of guidance have no effect."""
    given = {**chosen, **(guided if scale != 1.0 else {}), "guidance_scale": scale}
    return {key: value for key, value in given.items() if value is not None}


def _score(
    generator: "Generator",
    images: Mapping[float, "Items"],
    settings: Mapping[float, Mapping[str, Any]],
    scorer: "Scorer",
    config: EvaluateParams,
) -> list[dict[str, Any]]:
    """A row for each scale."""
    import torch

    from ngldm.scoring.evaluation.scores import score
    from ngldm.scoring.further.images import ACCURACY
    from ngldm.scoring.further.scores import class_scores

    asked = generator.labels(len(next(iter(images.values()))))
    rows = []
    for scale, items in images.items():
        features = torch.cat(list(scorer.features(items, config.batch_size)))
        found = score(scorer, features, config)
        rows.append(
            {
                "scale": scale,
                "network_calls": generator.network_calls(generator.options(**settings[scale])),
                "metric": scorer.metric,
                "distance": found.distance,
                "spread": found.spread,
                "precision": found.precision,
                "recall": found.recall,
                "class_accuracy": class_scores(workspace.FURTHER, items, features, asked).get(ACCURACY),
            }
        )
    return rows


def _write(out: Path, rows: Sequence[Mapping[str, Any]], images: Mapping[float, "Items"]) -> None:
    """Write guidance.csv, guidance.svg, guidance.png and images.png, a row of the same images for each scale."""
    import numpy as np

    from ngldm.io.files import atomic_directory, write_csv
    from ngldm.io.images import sample_grid
    from ngldm.io.images import save_png as save_image
    from ngldm.pipeline.cli.guidance.figure import curve
    from ngldm.pipeline.report.figures.drawing import save_png, save_svg

    figure = curve(rows)
    shown = np.concatenate([items[:SHOWN] for items in images.values()])
    with atomic_directory(out) as folder:
        write_csv(folder / "guidance.csv", ["metric", *COLUMNS], rows)
        save_svg(figure, folder / "guidance.svg")
        save_png(figure, folder / "guidance.png")
        save_image(sample_grid(shown, len(images), min(SHOWN, len(shown) // len(images))), folder / "images.png")
