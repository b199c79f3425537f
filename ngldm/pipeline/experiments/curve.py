"""Scores of a training's snapshots, kept on disk one by one as they are done."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from ngldm.io.files import atomic_directory, fingerprint, read_json, sha256_file, write_json
from ngldm.io.images import UInt8Array, sample_grid
from ngldm.model import load_model
from ngldm.pipeline import workspace
from ngldm.sampling.generator import generate_batches
from ngldm.scoring.scorer import Scorer

COLUMNS = ("step", "epoch", "value", "metric", "num_images")
Row = dict[str, Any]


def score_snapshots(
    noise: str,
    files: list[Path],
    settings: tuple[Any, Any, Any],
    batch_size: int,
    scorer: Scorer,
    run: Any,
    advance: Callable[[int], None],
) -> list[Row]:
    """A row of `COLUMNS` for each snapshot of one noise; scores and pictures go to MLflow.

    Args:
        files: model files named by their step.
        settings: the sections curve and evaluate, and the options of curve.sampler.
        batch_size: of the training, to turn steps into epochs.
        scorer: for curve.num_images images.
        run: an `ngldm.pipeline.tracking.runs.Run`.
        advance: told of images done.
    """
    inputs = [section.model_dump() for section in settings]
    statistics = sha256_file(workspace.REFERENCE / "statistics.npz")
    rows = []
    for file in files:
        key = fingerprint([*inputs, batch_size, statistics, sha256_file(file), str(scorer.device)])
        kept = workspace.main_root() / "checkpoints" / "curve" / f"{noise}-{file.stem}-{key[:16]}.json"
        if kept.is_file():
            row: Row = read_json(kept, *COLUMNS)
            advance(settings[0].num_images)
        else:
            row, picture = _score(file, settings, batch_size, scorer, advance)
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
    file: Path, settings: tuple[Any, Any, Any], batch_size: int, scorer: Scorer, advance: Callable[[int], None]
) -> tuple[Row, UInt8Array]:
    """One snapshot's row, and a grid of its first images."""
    config, scoring, sampler = settings
    bundle = load_model(file, scorer.device)
    pictures: list[UInt8Array] = []

    def features() -> Iterator[Tensor]:
        options = sampler.arguments(bundle.noise.name)
        for images in generate_batches(bundle, scorer.count, config.batch_size, **options):
            if not pictures:
                pictures.append(sample_grid(images))
            yield from scorer.features(images, scoring.batch_size)
            advance(len(images))

    distance = scorer.distance(features())
    advance(config.num_images - scorer.count)
    step = int(file.stem)
    row = {
        "step": step,
        "epoch": step * batch_size / scorer.num_real,
        "value": distance,
        "metric": scorer.metric,
        "num_images": scorer.count,
    }
    return row, pictures[0]


def write_curves(rows: dict[str, list[Row]]) -> None:
    """plots/curve/<noise>.csv for each noise, the folder whole or not at all."""
    with atomic_directory(workspace.CURVE) as folder:
        for noise, scores in rows.items():
            with (folder / f"{noise}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(scores)
