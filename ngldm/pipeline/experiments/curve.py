"""Scores of a training's snapshots, kept on disk one by one as they are done."""

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ngldm.io.device import be_deterministic
from ngldm.io.files import atomic_directory, sha256_file
from ngldm.io.images import UInt8Array, sample_grid
from ngldm.model import load_model
from ngldm.pipeline import workspace
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.pipeline.config.sections import CurveParams, EvaluateParams
from ngldm.pipeline.experiments.jobs import KeptRows, Row
from ngldm.sampling.best import SamplerSettings, resolve_sampler
from ngldm.sampling.generator import load
from ngldm.scoring.scorer import Scorer


class Recorder(Protocol):
    """What the curve tells MLflow's run of a model (`ngldm.pipeline.tracking.runs.Run`)."""

    def picture(self, key: str, image: UInt8Array, step: int) -> None: ...

    def metrics(self, content: Mapping[str, float | None], step: int) -> None: ...

    def logged_steps(self, key: str) -> set[int]: ...


COLUMNS = ("step", "epoch", "value", "metric", "num_images")


def score_snapshots(
    noise: str,
    files: list[Path],
    settings: tuple[CurveParams, EvaluateParams, SamplerOptions],
    batch_size: int,
    scorer: Scorer,
    run: Recorder,
    advance: Callable[[int], None],
) -> list[Row]:
    """A row of `COLUMNS` for each snapshot of one noise; scores and pictures go to MLflow.

    Args:
        files: model files named by their step.
        settings: the sections curve and evaluate, and the sampler that curve.sampler names.
        batch_size: of the training, to turn steps into epochs.
        scorer: for curve.num_images images.
        advance: told of images done.
    """
    if not files:
        return []
    be_deterministic()
    config, scoring, options = settings
    diffusion = load_model(files[0]).diffusion
    sampler = resolve_sampler(options.settings(), diffusion.noise.name, diffusion.schedule.num_train_timesteps)
    decided_by = {
        "num_images": config.num_images,
        "batch_size": config.batch_size,
        "sampler": sampler,
        "train_batch_size": batch_size,
        "evaluate": scoring.model_dump(include={"extractor", "fid_protocol", "batch_size"}),
    }
    reference = [workspace.REFERENCE / name for name in ("statistics.npz", "features.npy", "reference.json")]
    behind = {**made_from(decided_by, reference, Path(__file__)), "device": scorer.device.type}
    rows = []
    for file in files:
        inputs = {**behind["inputs"], "model": sha256_file(file)}
        kept = KeptRows("curve", f"{noise}-{file.stem}", COLUMNS, {**behind, "inputs": inputs})
        found = kept.read()
        if found is None:
            row, picture = _score(file, (config, scoring, sampler), batch_size, scorer, advance)
            found = [row]
            kept.write(found)
            run.picture("by_step", picture, row["step"])
        else:
            advance(config.num_images)
        rows += found
    _log(run, rows)
    return rows


def _log(run: Recorder, rows: list[Row]) -> None:
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
    file: Path,
    settings: tuple[CurveParams, EvaluateParams, SamplerSettings],
    batch_size: int,
    scorer: Scorer,
    advance: Callable[[int], None],
) -> tuple[Row, UInt8Array]:
    """One snapshot's row, and a grid of its first images."""
    config, scoring, sampler = settings
    generator = load(file, scorer.device)
    pictures: list[UInt8Array] = []

    def features() -> Iterator[Tensor]:
        for images in generator.batches(scorer.count, batch_size=config.batch_size, **sampler):
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
