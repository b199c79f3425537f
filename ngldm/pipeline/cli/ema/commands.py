"""`ngldm ema`: a model whose weights are averages of another length, and the scores of several lengths."""

from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngldm.data.snapshots import AVERAGES
from ngldm.io.disk import require_place
from ngldm.io.errors import unknown
from ngldm.io.files import write_csv
from ngldm.io.limits import MAX_ITEMS
from ngldm.pipeline import workspace
from ngldm.pipeline.cli.generate import model_of, require_new_file
from ngldm.pipeline.terminal import Device, print_table, progress
from ngldm.sampling.names import MAX_SEED

if TYPE_CHECKING:
    from ngldm.model import Model

app = typer.Typer(help="Averages of the weights of any length, after a training with train.ema.", no_args_is_help=True)
Noise = Annotated[str, typer.Option(help="Label of the training: models/<noise>, snapshots/<noise> (as laplace-s1).")]
LENGTHS = (0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2)
SHOWN = ("sigma_rel", "profile_error", "value", "std_error", "difference", "difference_error")
COLUMNS = (*SHOWN, "metric", "sample_seeds", "num_images")
INEXACT = 0.1  # a larger error of the profile is said


@app.command()
def write(
    noise: Noise,
    sigma_rel: Annotated[float, typer.Option(help="Relative length of the average: above 0, at most 0.2887.")],
    out: Annotated[Path, typer.Option(help="The model file to write.")],
) -> None:
    """Write the model of a training with averages of another length. `ngldm generate --model` takes the file."""
    from dataclasses import replace

    from ngldm.model import load_model

    require_new_file(out)
    model = load_model(model_of(noise))
    error = _average(model, noise, sigma_rel)
    replace(model, config={**model.config, "ema_sigma_rel": sigma_rel}).save(out)
    print(f"{out}: sigma_rel {sigma_rel:g}, error of the profile {error:.2%}")


@app.command()
def sweep(
    noise: Noise,
    sigma_rel: Annotated[
        list[float] | None,
        typer.Option(help="A length. May be repeated.", show_default=", ".join(f"{length:g}" for length in LENGTHS)),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="Label in sampler_options of params.yaml.", show_default="curve.sampler")
    ] = None,
    num_images: Annotated[
        int | None,
        typer.Option(min=2, max=MAX_ITEMS, help="Images for each length and seed.", show_default="curve.num_images"),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, max=MAX_SEED, help="Sampling seed. May be repeated.", show_default="sample.seed"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the table to this .csv file.")] = None,
    device: Device = "auto",
) -> None:
    """Score the model of a training as it is, and with averages of several lengths. All have the same sampling seeds.

    The differences are to the model as it is, seed by seed. Errors are standard errors over the seeds.
    """
    from ngldm.io.device import be_deterministic, resolve_device
    from ngldm.model import load_model
    from ngldm.pipeline.config.params import load_params
    from ngldm.pipeline.experiments.scorer import stage_scorer
    from ngldm.pipeline.experiments.study.compute import score_samplers
    from ngldm.sampling.best import resolve_sampler
    from ngldm.training.tracks import require_snapshots

    params, target = load_params(), resolve_device(device)
    label, count = sampler or params.curve.sampler, num_images or params.curve.num_images
    if label not in params.sampler_options:
        raise unknown("--sampler", label, params.sampler_options)
    if out is not None:
        require_place(out)
    be_deterministic()
    model, lengths = load_model(model_of(noise), target), list(dict.fromkeys(sigma_rel or LENGTHS))
    require_snapshots(workspace.snapshots(noise) / AVERAGES, lengths)  # before any work
    law, timesteps = model.diffusion.noise.name, model.diffusion.schedule.num_train_timesteps
    chosen = {label: resolve_sampler(params.sampler_options[label].settings(), law, timesteps)}
    scorer, seeds = stage_scorer(params.evaluate, count, target), seed or [params.sample.seed]
    rows, values = list[dict[str, Any]](), list[list[float]]()
    with progress(f"ema sweep {noise}", 1 + len(lengths), "lengths") as advance:
        for length in (None, *lengths):
            error = None if length is None else _average(model, noise, length)
            scores = score_samplers(model, chosen, seeds, count, params.curve.batch_size, scorer)
            values.append([score.value for score in scores])
            about = {"metric": scorer.metric, "sample_seeds": len(seeds), "num_images": count}
            rows.append({"sigma_rel": length, "profile_error": error, **_statistics(values[-1], values[0]), **about})
            advance(1)
    shown = [[_cell(row[key]) for key in SHOWN] for row in rows]
    shown[0][0] = "as trained"
    title = f"{noise}: {scorer.metric} of {count} images by {label}, {len(seeds)} sampling seeds"
    print_table(SHOWN, shown, title)
    if out is not None:
        write_csv(out, COLUMNS, rows)


def _average(model: "Model", noise: str, sigma_rel: float) -> float:
    """Give a model the average of a length. Returns the error of its profile; a large one is said."""
    from ngldm.training.tracks import load_average

    error = load_average(model.network, workspace.snapshots(noise) / AVERAGES, sigma_rel)
    if error > INEXACT:
        print(f"note: --sigma-rel {sigma_rel:g}: the snapshots give its profile with an error of {error:.0%}")
    return error


def _statistics(values: list[float], baseline: list[float]) -> dict[str, float | None]:
    """Mean and standard error of scores, and of their differences to those of the model as it is."""
    differences = [ours - theirs for ours, theirs in zip(values, baseline, strict=True)]
    return {
        "value": fmean(values),
        "std_error": _error(values),
        "difference": fmean(differences),
        "difference_error": _error(differences),
    }


def _error(values: list[float]) -> float | None:
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
