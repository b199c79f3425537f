"""`ngldm generate`: write images from a trained model to a folder as PNG files, and a grid of them to <folder>.png."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ngldm.io.device import CHANNELS_LAST, FP32, be_deterministic, check_computation, resolve_device
from ngldm.io.disk import require_place
from ngldm.io.errors import InputError, require_name, unknown
from ngldm.io.limits import MAX_BATCH, MAX_ITEMS, MAX_T
from ngldm.pipeline import workspace
from ngldm.pipeline.cli.catalogue import complete_model
from ngldm.pipeline.terminal import Device, progress
from ngldm.sampling.names import MAX_SEED

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ngldm.io.items import Items
    from ngldm.model import Model
    from ngldm.sampling.generator import Generator

GRID = 128  # images in the grid
BLOCK = 4096  # bytes that a file takes at least on most disks
ModelFile = Annotated[
    str | None,
    typer.Option(help="Instead of --noise: a model file, or an MLflow address such as models:/ngldm-laplace@best."),
]
SamplerName = Annotated[
    str | None,
    typer.Option(
        help="ancestral (right for gaussian noise only), ddim, dpmpp_2m, heun, posterior or stein.",
        show_default="the best known for the noise",
    ),
]
Class = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        help="Name or number of a class; several by repeating it, and the images are of each in turn.",
        show_default="all, in the proportions of the training images",
    ),
]
StepNoise = Annotated[str | None, typer.Option(help="own, gaussian or averaged:n (ancestral, ddim, posterior).")]
X0Limit = Annotated[
    float | None, typer.Option(help="Bound of clip and dynamic, in standard deviations of the latents.")
]
Trained = Annotated[
    str | None,
    typer.Option(help="Use models/<noise>/model.safetensors (as laplace-s1).", autocompletion=complete_model),
]


def generate(
    out: Annotated[
        Path, typer.Option(help="New or empty folder for the PNG files. A grid of them is written to <out>.png.")
    ],
    noise: Trained = None,
    model: ModelFile = None,
    num_images: Annotated[int, typer.Option(min=1, max=MAX_ITEMS, help="Number of images.")] = 64,
    sampler: SamplerName = None,
    steps: Annotated[int | None, typer.Option(min=1, max=MAX_T, help="Inference steps; --sampler needs them.")] = None,
    spacing: Annotated[str | None, typer.Option(help="trailing, linear, quadratic or karras.")] = None,
    sigma_max: Annotated[
        float | None, typer.Option(help="For --spacing karras: one step skips all larger sigma.", show_default="80")
    ] = None,
    eta: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Noise added by each step (ddim, stein).")] = None,
    start_noise: Annotated[str | None, typer.Option(help="own, gaussian, averaged:n or x_T.")] = None,
    step_noise: StepNoise = None,
    x0_handling: Annotated[
        str | None, typer.Option(help="How to change a predicted x_0: none, clip, dynamic or range.")
    ] = None,
    x0_limit: X0Limit = None,
    class_: Class = None,
    guidance_scale: Annotated[float | None, typer.Option(min=0.0, help="Towards the class; 1 is no guidance.")] = None,
    guidance_rescale: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Deviation that x_0 gets back.")
    ] = None,
    guidance_sigma_min: Annotated[float | None, typer.Option(min=0.0, help="Guidance above this noise level.")] = None,
    guidance_sigma_max: Annotated[float | None, typer.Option(min=0.0, help="Guidance up to this noise level.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Image number i depends only on this seed and i.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, max=MAX_BATCH, help="Images per network call.")] = 64,
    precision: Annotated[
        str, typer.Option(help="Of the network: fp32, bf16 or auto (the fastest here, with its layout).")
    ] = FP32,
    layout: Annotated[str, typer.Option(help="Of the network's weights: channels_last or contiguous.")] = CHANNELS_LAST,
    device: Device = "auto",
) -> None:
    """Generate images. The same seed gives the same images for any batch size (up to one grey level).

    Of a model with classes, each class has a folder and a row of the grid; the classes of points are in classes.npy.
    """
    _check_given(noise, model, sampler, steps)
    check_computation(precision, layout)
    grid = _place_of_grid(out)
    options: dict[str, Any] = {"method": sampler, "num_inference_steps": steps, "timestep_spacing": spacing}
    options |= {"sigma_max": sigma_max, "eta": eta, "start_noise": start_noise, "step_noise": step_noise}
    options |= {"x0_handling": x0_handling, "x0_limit": x0_limit, "classes": class_ or None}
    options |= {"guidance_scale": guidance_scale, "guidance_rescale": guidance_rescale}
    options |= {"guidance_sigma_min": guidance_sigma_min, "guidance_sigma_max": guidance_sigma_max}
    options = {key: value for key, value in options.items() if value is not None}
    target = resolve_device(device)
    be_deterministic()
    from ngldm.io.items import noun

    generator = _loaded(noise, model, target, precision, layout, min(batch_size, num_images))
    _require_space(num_images, generator.model.no_items(), out)
    total = num_images * generator.options(**options).num_inference_steps
    with progress(f"generate {generator.model.diffusion.noise.name}", total, "steps") as advance:
        batches = generator.batches(num_images, seed, batch_size=batch_size, progress=advance, **options)
        asked = _Asked.of(generator.model, generator.labels(num_images, classes=class_ or None))
        _write(batches, num_images, asked, out, grid)
    print(f"{num_images} {noun(generator.model.no_items())} in {out}, a picture of them in {grid}")


def _check_given(noise: str | None, model: str | None, sampler: str | None, steps: int | None) -> None:
    """Check which options are there.

    Raises:
        InputError: not exactly one model, or a sampler without its steps.
    """
    if (noise is None) == (model is None):
        raise InputError("--noise, --model: give exactly one of them")
    if (sampler is None) != (steps is None):
        raise InputError("--sampler, --steps: give both or neither")


def _loaded(
    noise: str | None, model: str | None, device: "torch.device", precision: str, layout: str, batch_size: int
) -> "Generator":
    """The model, in that precision and layout. A line says which the fastest are, if they are asked for."""
    from ngldm.sampling.generator import load

    with TemporaryDirectory() as folder:
        generator = load(model_file(noise, model, Path(folder)), device)
    generator, choice = generator.computing(precision, layout, batch_size)
    if choice.said:
        print(choice.said)
    return generator


def require_new_folder(out: Path) -> None:
    """Check --out before any work.

    Raises:
        InputError: it is no new or empty folder, or cannot be one.
    """
    require_place(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out: {out} exists and is not an empty folder")


def require_new_file(out: Path) -> None:
    """Check --out of a command that writes one file.

    Raises:
        InputError: it exists, or cannot be a file.
    """
    require_place(out)
    if out.exists():
        raise InputError(f"--out: {out} exists")


def _place_of_grid(out: Path) -> Path:
    """The path <out>.png. The grid is not in the folder, because all images of a folder count in its score.

    Raises:
        InputError: the file exists, or `out` is not a new or empty folder.
    """
    require_new_folder(out)
    grid = out.absolute().with_name(f"{out.absolute().name}.png")
    if grid.exists():
        raise InputError(f"--out: {grid} exists; the grid would be written there")
    return grid


def _require_space(num_images: int, like: "Items", out: Path) -> None:
    """Check that the disk can hold the files: a block for each PNG file at least, or the numbers of points.

    Raises:
        InputError: it cannot.
    """
    from ngldm.io.items import are_points

    each = 4 * like.shape[1] if are_points(like) else BLOCK
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if num_images * each > (free := shutil.disk_usage(place).free):
        raise InputError(f"--num-images: {num_images} need {num_images * each} bytes or more; {place} has {free} free")


class _Asked(NamedTuple):
    """The class of each image, None without classes, and the names of the classes."""

    labels: "NDArray[np.int64] | None"
    names: Sequence[str]

    @classmethod
    def of(cls, model: "Model", labels: "NDArray[np.int64] | None") -> "_Asked":
        return cls(labels, () if model.classes is None else model.classes.names)

    def folder(self, number: int) -> str:
        """Where image `number` lies: a folder that can be trained on with classes; "." without classes.

        It has the name of the class, or the number where a name of the model's file could lead to another place.
        """
        if self.labels is None:
            return "."
        label = int(self.labels[number])
        try:
            return require_name("class", self.names[label])
        except InputError:
            return str(label)


def _write(batches: Iterable["Items"], num_images: int, asked: _Asked, out: Path, grid: Path) -> None:
    """Write one PNG file for each image to the folder `out`, and a grid of the first images to `grid`.

    Of a model of points, write all of them to points.npy in `out`, the numbers of their classes, if they have any, to
    classes.npy, and a picture of the points to `grid`. If an error occurs, `out` is not written.
    """
    import numpy as np

    from ngldm.io.files import atomic_directory
    from ngldm.io.images import save_png
    from ngldm.io.items import CLASSES, are_points, as_images, class_picture

    digits, done = max(5, len(str(num_images - 1))), 0
    first: list[Items] = []  # what the picture shows
    with atomic_directory(out) as folder:
        for batch in batches:
            if are_points(batch):
                first.append(batch)
                continue
            for image in as_images(batch):
                place = folder / asked.folder(done)
                place.mkdir(exist_ok=True)
                save_png(image, place / f"{done:0{digits}}.png")
                done += 1
            first.append(batch[: max(0, GRID - (done - len(batch)))])
        shown = np.concatenate(first)
        if are_points(shown):
            np.save(folder / "points.npy", shown)
            if asked.labels is not None:
                np.save(folder / CLASSES, asked.labels)
    save_png(class_picture(shown, asked.labels), grid)


def _no_model(noise: str) -> InputError:
    """What to do if there is no model of that label."""
    here = workspace.trained()
    if not here:
        return InputError(
            f"--noise: {noise!r}: models/ has no model; `dvc repro` trains some, --model takes the file of any"
        )
    return unknown("--noise", noise, here)


def model_of(noise: str) -> Path:
    """The model file of a training of this workspace, by its label.

    Raises:
        InputError: there is none of that label.
    """
    if require_name("--noise", noise) not in workspace.trained():
        raise _no_model(noise)
    return workspace.model(noise)


def model_file(noise: str | None, model: str | None, folder: Path) -> Path:
    """The file of the model that --noise or --model names. A model from MLflow is downloaded into `folder`.

    Raises:
        InputError: there is no such model.
    """
    if noise is not None:
        return model_of(noise)
    assert model is not None  # `generate` has checked that one of the two is given
    in_store = model.startswith(("models:/", "runs:/"))
    if "://" not in model and not in_store:
        return Path(model)
    store = workspace.store_file()
    if in_store and store is not None and not store.is_file():  # MLflow would make an empty store here
        raise InputError(f"--model: {model}: no MLflow store {store}; run from the repository's root")
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(workspace.tracking_uri())
    try:
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=model, dst_path=str(folder)))
    except (MlflowException, OSError, ValueError) as error:  # ValueError: of an address that is none
        raise InputError(f"--model: {model}: {error}") from error
    found = [local] if local.suffix == ".safetensors" else sorted(local.rglob("*.safetensors"))
    if len(found) != 1:
        raise InputError(f"--model: {model} has {len(found)} model files; it must have one")
    return found[0]
