"""Scores of a training's snapshots, kept on disk one by one as they are done."""

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ngldm.io.files import entry
from ngldm.pipeline import workspace

COLUMNS = ("step", "epoch", "value", "metric", "num_images", "seconds")
Row = dict[str, Any]


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
    from ngldm.io.files import fingerprint, read_json, sha256_file, write_json
    from ngldm.pipeline.workspace import main_root

    inputs = [section.model_dump() for section in settings]
    statistics = sha256_file(workspace.REFERENCE / "statistics.npz")
    rows = []
    for file in files:
        key = fingerprint([*inputs, batch_size, statistics, sha256_file(file), str(device)])
        kept = main_root() / "checkpoints" / "curve" / f"{noise}-{file.stem}-{key[:16]}.json"
        if kept.is_file():
            row: Row = read_json(kept, *COLUMNS)
            advance(settings[0].num_images)
        else:
            row, picture = _score(file, settings, batch_size, device, advance)
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, row)
            run.picture("by_step", picture, row["step"])
        rows.append(row)
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
    file: Path, settings: tuple[Any, Any, Any], batch_size: int, device: Any, advance: Callable[[int], None]
) -> tuple[Row, Any]:
    """One snapshot's row, and a grid of its first images."""
    from ngldm.data.reference import load_reference
    from ngldm.io.images import sample_grid
    from ngldm.model import load_model
    from ngldm.sampling.generator import generate_batches
    from ngldm.scoring.features.extractor import extract, make_extractor
    from ngldm.scoring.frechet import Moments, frechet_distance
    from ngldm.scoring.protocol import by_protocol, compared, shortfall

    config, scoring, sampler = settings
    bundle, whole = load_model(file, device), load_reference(workspace.REFERENCE)
    extractor = make_extractor(
        scoring.extractor,
        classifier=workspace.REFERENCE / "classifier.safetensors",
        inception=scoring.inception_weights,
        device=device,
    )
    whole.require_extractor(extractor.weights_sha256)
    real = entry(whole.about, "num_images", int)
    for note in shortfall(scoring.fid_protocol, extractor.dim, config.num_images, real):
        print(f"note: {note}")
    reference = by_protocol(whole, scoring.fid_protocol, config.num_images)
    count = compared(scoring.fid_protocol, config.num_images, len(reference.features))
    start, moments, picture = time.perf_counter(), Moments(extractor.dim), None
    options = sampler.arguments(bundle.noise.name)
    for images in generate_batches(bundle, count, scoring.batch_size, **options):
        picture = sample_grid(images) if picture is None else picture
        for features in extract(extractor, images, scoring.batch_size):
            moments.update(features)
        advance(len(images))
    advance(config.num_images - count)
    step = int(file.stem)
    row = {
        "step": step,
        "epoch": step * batch_size / real,
        "value": frechet_distance(reference.mu, reference.sigma, moments.mean, moments.cov),
        "metric": reference.about["metric"],
        "num_images": count,
        "seconds": time.perf_counter() - start,
    }
    return row, picture


def write_curves(rows: dict[str, list[Row]]) -> None:
    """plots/curve/<noise>.csv for each noise, the folder whole or not at all."""
    from ngldm.io.files import atomic_directory

    with atomic_directory(workspace.CURVE) as folder:
        for noise, scores in rows.items():
            with (folder / f"{noise}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(scores)
