"""Scores and pictures of generated images in MLflow."""

from collections.abc import Sequence

from ngldm.data.curve import CurveRow
from ngldm.io.files import entry, read_json
from ngldm.io.images import UInt8Array, sample_grid
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.tracking.comparison import run_of_model
from ngldm.pipeline.tracking.models import ensure_logged, update_best
from ngldm.pipeline.tracking.runs import Run
from ngldm.pipeline.tracking.store import Store
from ngldm.scoring.scorer import Scorer
from ngldm.scoring.scores import Scores

# What scores of the reference must share to be comparable. No figures: their last digits may differ.
SHARED = ("dataset_sha256", "extractor", "weights_sha256", "metric")


def record_scores(
    store: Store,
    params: Params,
    labels: tuple[str, str],
    scorer: Scorer,
    scores: Scores,
    pictures: tuple[UInt8Array, UInt8Array],
) -> None:
    """Write one sampler's scores, images and trajectory to the MLflow run of its model; mark the noise's best model.

    Args:
        labels: noise and sampler.
        pictures: images (N, H, W, C) and trajectory (frames, n, H, W, C).
    """
    (noise, sampler), (images, trajectory) = labels, pictures
    sha = entry(read_json(workspace.samples(noise, sampler) / "samples.json"), "model_sha256", str)
    run = run_of_model(store, params, noise, sha, sampler)
    model_id = ensure_logged(store, run, workspace.model(noise), sha, noise, images.shape[1:])
    # Without a step: MLflow's charts draw bars of such metrics, and lone points of others.
    run.metrics({f"{key}.{sampler}": value for key, value in scores.named().items()}, model_id=model_id)
    run.picture(f"samples-{sampler}", sample_grid(images), run.step)
    for frame in range(len(trajectory)):  # the slider goes from noise to image
        run.picture(f"denoising-{sampler}", sample_grid(trajectory[frame], rows=2), frame)
    context = {**{key: scorer.reference.about.get(key) for key in SHARED}, "num_images": scorer.count}
    update_best(store, noise, sha, scores.distance, context)
    run.finish()


def record_snapshot(run: Run, step: int, picture: UInt8Array) -> None:
    """Write a grid of images (H, W, C) of the snapshot of that step."""
    run.picture("by_step", picture, step)


def record_curve(run: Run, rows: Sequence[CurveRow]) -> None:
    """Write the scores of a noise's snapshots to its run, by step and by epoch. Those that are there already stay.

    Epochs of MLflow are whole numbers, so scores of the first epoch's parts are written by step alone.
    """
    names = {f"{row['metric']}.by_step" for row in rows}
    done = {name: run.logged_steps(name) for name in names}
    for row in rows:
        name = f"{row['metric']}.by_step"
        if row["step"] not in done[name]:
            run.metrics({name: row["value"]}, row["step"])
            if row["epoch"] >= 1.0:
                run.metrics({f"{row['metric']}.by_epoch": row["value"]}, round(row["epoch"]))
