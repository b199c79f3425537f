"""`ngldm generate`: images from a finished model, as PNG files in a folder, and a grid of them beside it."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.errors import InputError
from ngldm.pipeline import workspace
from ngldm.pipeline.terminal import Device, progress
from ngldm.sampling.names import MAX_SEED

if TYPE_CHECKING:
    from ngldm.io.images import UInt8Array

GRID = 128


def generate(
    out: Annotated[
        Path, typer.Option(help="Folder for the PNG files, new or empty; a grid of them becomes <out>.png.")
    ],
    noise: Annotated[str | None, typer.Option(help="Which of the workspace's models.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Instead: a model file, or an MLflow address such as models:/ngldm-laplace@best.")
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help="How many.")] = 64,
    sampler: Annotated[
        str | None, typer.Option(help="ancestral, ddim, dpmpp_2m, heun or posterior; the best known unless said.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Inference steps; needed with --sampler.")] = None,
    spacing: Annotated[str | None, typer.Option(help="trailing, linear, quadratic or karras.")] = None,
    sigma_max: Annotated[
        float | None, typer.Option(help="Of karras: one step passes over all larger sigma; 80 unless said.")
    ] = None,
    eta: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Noise added by each step (ddim).")] = None,
    start_noise: Annotated[str | None, typer.Option(help="own, gaussian, averaged:n or x_T.")] = None,
    step_noise: Annotated[
        str | None, typer.Option(help="own, gaussian or averaged:n (ancestral, ddim, posterior).")
    ] = None,
    x0_handling: Annotated[str | None, typer.Option(help="none, clip, dynamic or range: of a predicted x_0.")] = None,
    x0_limit: Annotated[float | None, typer.Option(help="Bound of clip and dynamic, in deviations.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Image i follows from this seed and i.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per network call.")] = 64,
    device: Device = "auto",
) -> None:
    """Generate images: the same seed gives the same images, whatever the batch size (up to one grey level)."""
    if (noise is None) == (model is None):
        raise InputError("--noise, --model: give one of them")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out: {out} exists and is not an empty folder")
    grid = out.absolute().with_name(f"{out.absolute().name}.png")  # beside the samples: a score of the folder is theirs
    if grid.exists():
        raise InputError(f"--out: {grid}, the place of the grid, exists")
    options: dict[str, Any] = {
        "timestep_spacing": spacing,
        "sigma_max": sigma_max,
        "eta": eta,
        "start_noise": start_noise,
    }
    options |= {"step_noise": step_noise, "x0_handling": x0_handling, "x0_limit": x0_limit}
    options = {key: value for key, value in options.items() if value is not None}
    if (sampler is None) != (steps is None):
        raise InputError("--sampler, --steps: give both or none")
    target = resolve_device(device)
    be_deterministic()
    from ngldm.sampling.generator import load

    with TemporaryDirectory() as folder:
        generator = load(_model_file(noise, model, Path(folder)), target)
    if sampler is not None:
        options |= {"method": sampler, "num_inference_steps": steps}
    chosen = generator.options(**options)
    total, name = num_images * chosen.num_inference_steps, generator.model.diffusion.noise.name
    with progress(f"generate {name}", total, "steps") as advance:
        batches = generator.batches(num_images, seed, batch_size=batch_size, progress=advance, **options)
        _write(batches, num_images, out, grid)
    print(f"{num_images} images in {out}, a grid of them in {grid}")


def _write(batches: Iterable["UInt8Array"], num_images: int, out: Path, grid: Path) -> None:
    """One PNG file for each image in the folder `out`, whole or not at all, and a grid of the first ones."""
    import numpy as np

    from ngldm.io.files import atomic_directory
    from ngldm.io.images import sample_grid, save_png

    digits, done = max(5, len(str(num_images - 1))), 0
    first: list[UInt8Array] = []  # as many as the grid shows
    with atomic_directory(out) as folder:
        for batch in batches:
            for image in batch:
                save_png(image, folder / f"{done:0{digits}}.png")
                done += 1
            first.extend(batch[: GRID - len(first)])
    save_png(sample_grid(np.stack(first)), grid)


def _model_file(noise: str | None, model: str | None, folder: Path) -> Path:
    if noise is not None:
        return workspace.model(noise)
    assert model is not None  # one of the two is given
    if "://" not in model and not model.startswith(("models:/", "runs:/")):
        return Path(model)
    import os

    import mlflow
    from mlflow.exceptions import MlflowException

    from ngldm.pipeline.workspace import main_root

    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{main_root() / 'mlflow.db'}")
    try:
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=model, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise InputError(f"--model: {model}: {error}") from error
    found = [local] if local.suffix == ".safetensors" else sorted(local.rglob("*.safetensors"))
    if len(found) != 1:
        raise InputError(f"--model: {model} holds {len(found)} model files, not one")
    return found[0]
