"""Scores of a training's snapshots, kept on disk one by one as they are done."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ngldm.data.reference import load_reference
from ngldm.io.device import be_deterministic
from ngldm.io.files import atomic_directory, sha256_file
from ngldm.io.images import sample_grid
from ngldm.model import load_model
from ngldm.pipeline import workspace
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.experiments.jobs import KeptRows, Row
from ngldm.sampling.generator import load
from ngldm.scoring.features.extractor import extract, make_extractor
from ngldm.scoring.frechet import Moments, frechet_distance
from ngldm.scoring.protocol import by_protocol, compared, shortfall

COLUMNS = ("step", "epoch", "value", "metric", "num_images")


def score_snapshots(
    noise: str,
    files: list[Path],
    settings: tuple[Any, Any, Any],
    batch_size: int,
    device: Any,
    run: Any,
    advance: Callable[[int], None],
) -> list[Row]:
    """A row of `COLUMNS` for each snapshot of one noise; scores and pictures go to MLflow.

    Args:
        files: model files named by their step.
        settings: the sections curve and evaluate, and the options of curve.sampler.
        batch_size: of the training, to turn steps into epochs.
        run: an `ngldm.pipeline.tracking.runs.Run`.
        advance: told of images done.
    """
    if not files:
        return []
    be_deterministic()
    config, scoring, options = settings
    sampler = options.arguments(load_model(files[0]).diffusion.noise.name)
    decided_by = {
        "num_images": config.num_images,
        "sampler": sampler,
        "train_batch_size": batch_size,
        "evaluate": scoring.model_dump(include={"extractor", "fid_protocol", "batch_size"}),
    }
    reference = [workspace.REFERENCE / name for name in ("statistics.npz", "features.npy", "reference.json")]
    behind = {**made_from(decided_by, reference, Path(__file__)), "device": device.type}
    rows = []
    for file in files:
        inputs = {**behind["inputs"], "model": sha256_file(file)}
        kept = KeptRows("curve", f"{noise}-{file.stem}", COLUMNS, {**behind, "inputs": inputs})
        found = kept.read()
        if found is None:
            row, picture = _score(file, (config, scoring, sampler), batch_size, device, advance)
            found = [row]
            kept.write(found)
            run.picture("by_step", picture, row["step"])
        else:
            advance(config.num_images)
        rows += found
    _log(run, rows)
    return rows


def _log(run: Any, rows: list[Row]) -> None:
    """Scores by step, and by epoch for those of at least one; rows that an earlier call has logged are left out."""
    names = {f"{row['metric']}.by_step" for row in rows}
    done = {name: run.logged_steps(name) for name in names}
    for row in rows:
        name = f"{row['metric']}.by_step"
        if row["step"] not in done[name]:
            run.metrics({name: row["value"]}, row["step"])
            if row["epoch"] >= 1.0:
                run.metrics({f"{row['metric']}.by_epoch": row["value"]}, round(row["epoch"]))


def _score(
    file: Path, settings: tuple[Any, Any, dict[str, Any]], batch_size: int, device: Any, advance: Callable[[int], None]
) -> tuple[Row, Any]:
    """One snapshot's row, and a grid of its first images."""
    config, scoring, sampler = settings
    generator, whole = load(file, device), load_reference(workspace.REFERENCE)
    extractor = make_extractor(
        scoring.extractor,
        classifier=workspace.REFERENCE / "classifier.safetensors",
        inception=scoring.inception_weights,
        device=device,
    )
    whole.require_extractor(extractor.weights_sha256)
    for note in shortfall(scoring.fid_protocol, extractor.dim, config.num_images, whole.about["num_images"]):
        print(f"note: {note}")
    reference = by_protocol(whole, scoring.fid_protocol, config.num_images)
    count = compared(scoring.fid_protocol, config.num_images, len(reference.features))
    moments, picture = Moments(extractor.dim), None
    for images in generator.batches(count, batch_size=scoring.batch_size, **sampler):
        picture = sample_grid(images) if picture is None else picture
        for features in extract(extractor, images, scoring.batch_size):
            moments.update(features)
        advance(len(images))
    advance(config.num_images - count)
    step = int(file.stem)
    row = {
        "step": step,
        "epoch": step * batch_size / whole.about["num_images"],
        "value": frechet_distance(reference.mu, reference.sigma, moments.mean, moments.cov),
        "metric": reference.about["metric"],
        "num_images": count,
    }
    return row, picture


def write_curves(rows: dict[str, list[Row]]) -> None:
    """plots/curve/<noise>.csv for each noise, the folder whole or not at all."""
    with atomic_directory(workspace.CURVE) as folder:
        for noise, scores in rows.items():
            with (folder / f"{noise}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(scores)
