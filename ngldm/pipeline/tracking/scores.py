"""Scores and pictures of generated images in MLflow."""

import math
from collections.abc import Sequence
from typing import Any

from ngldm.data.results.curve import CurveRow
from ngldm.data.results.samples import model_behind
from ngldm.io.files import fingerprint
from ngldm.io.images import UInt8Array
from ngldm.io.items import Items, item_shape, picture
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.tracking.comparison import run_of_model, scored_against
from ngldm.pipeline.tracking.models import ensure_logged, update_best
from ngldm.pipeline.tracking.runs import Run
from ngldm.pipeline.tracking.store import Store, one_at_a_time
from ngldm.scoring.distance.scorer import Scorer
from ngldm.scoring.evaluation.scores import Scores
from ngldm.scoring.features.names import PER_CLASS

CONTEXT_TAG = "ngldm.lowest_of"  # of a parent: fingerprint of what its lowest scores are compared with
# What must be equal in two references if scores are compared. Measured figures are not here: last digits may vary.
SHARED = ("dataset_sha256", "extractor", "weights_sha256", "metric")


def record_scores(
    store: Store,
    params: Params,
    labels: tuple[str, str],
    scorer: Scorer,
    scores: Scores,
    pictures: tuple[Items, Items],
) -> None:
    """Write one sampler's scores, images and trajectory to the run of its model. Mark the best model of the noise.

    Args:
        labels: of the training and of the sampler.
        pictures: generated images or points, and the trajectory.
    """
    (label, sampler), (images, trajectory) = labels, pictures
    noise = params.training(label).noise
    sha = model_behind(workspace.samples(label, sampler))
    run = run_of_model(store, params, label, sha, sampler)
    model_id = ensure_logged(store, run, workspace.model(label), sha, noise, item_shape(images))
    # Without a step: MLflow draws such metrics as bars, but a metric with one step as a single point.
    # Scores of single classes are in the stage's file alone: with dozens of them MLflow's pages hide the others.
    shown = {key: value for key, value in scores.named().items() if value is not None and PER_CLASS not in key}
    known = {f"{key}.{sampler}": value for key, value in shown.items()}
    run.metrics(known, model_id=model_id)
    run.tags(scored_against(scorer.reference.about))
    run.picture(f"samples-{sampler}", picture(images), run.step)
    for frame in range(len(trajectory)):  # so MLflow's slider goes from noise to image
        run.picture(f"denoising-{sampler}", picture(trajectory[frame], rows=2), frame)
    context = {**{key: scorer.reference.about.get(key) for key in SHARED}, "num_images": scorer.count}
    update_best(store, noise, sha, scores.distance, context)
    if run.parent is not None:
        record_lowest(run.parent, f"{scores.metric}.{sampler}", scores.distance, fingerprint(context))
    run.finish()


def record_lowest(parent: Run, name: str, value: float, context: str) -> None:
    """Write a distance to the parent as `lowest.<name>` if it is lower than those of the other runs there.

    MLflow's page of charts opens with the parents alone. Without metrics of their own it would be empty.

    Args:
        context: fingerprint of what must be equal if scores are compared. A score in a new context replaces the old.
    """

    def log(client: Any) -> None:
        with one_at_a_time():
            known = client.get_run(parent.id).data
            same = known.tags.get(CONTEXT_TAG) == context
            if not same:
                client.set_tag(parent.id, CONTEXT_TAG, context)
            if not (same and known.metrics.get(f"lowest.{name}", math.inf) <= value):
                client.log_metric(parent.id, f"lowest.{name}", value)

    if parent.id is not None:
        parent.store.ask(log)


def record_snapshot(run: Run, step: int, picture: UInt8Array) -> None:
    """Write a grid of images (H, W, C) of the snapshot of that step."""
    run.picture("by_step", picture, step)


def record_curve(run: Run, rows: Sequence[CurveRow]) -> None:
    """Write the scores of a noise's snapshots to its run, by step and by epoch. Scores that are there already stay.

    MLflow knows whole steps only. So scores before the end of the first epoch are written by step alone.
    """
    names = {f"{row['metric']}.by_step" for row in rows}
    done = {name: run.logged_steps(name) for name in names}
    for row in rows:
        name = f"{row['metric']}.by_step"
        if row["step"] not in done[name]:
            run.metrics({name: row["value"]}, row["step"])
            if row["epoch"] >= 1.0:
                run.metrics({f"{row['metric']}.by_epoch": row["value"]}, round(row["epoch"]))
