"""Scores and pictures of generated images in MLflow."""

from ngldm.io.files import entry, read_json
from ngldm.io.images import UInt8Array, sample_grid
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.tracking.comparison import run_of_model
from ngldm.pipeline.tracking.models import ensure_logged, update_best
from ngldm.pipeline.tracking.store import DATA_TAG, EXTRACTOR_TAG, Store
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
    known = {f"{key}.{sampler}": value for key, value in scores.named().items() if value is not None}
    run.metrics(known, model_id=model_id)
    about = scorer.reference.about
    run.tags({DATA_TAG: str(about.get("dataset_sha256")), EXTRACTOR_TAG: str(about.get("weights_sha256"))})
    run.picture(f"samples-{sampler}", sample_grid(images), run.step)
    for frame in range(len(trajectory)):  # the slider goes from noise to image
        run.picture(f"denoising-{sampler}", sample_grid(trajectory[frame], rows=2), frame)
    context = {**{key: scorer.reference.about.get(key) for key in SHARED}, "num_images": scorer.count}
    update_best(store, noise, sha, scores.distance, context)
    run.finish()
