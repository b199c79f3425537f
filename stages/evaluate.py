"""Stage `evaluate@<noise>`: score the images of all samplers of one noise. MLflow gets scores and pictures."""

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ngldm.data.results.samples import asked_classes, load_samples, require_origin, same_number
from ngldm.io import processes
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.files import write_json
from ngldm.io.items import Items, noun
from ngldm.pipeline import workspace
from ngldm.pipeline.checkpoints import Parts, resumable
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.scorer import stage_scorer
from ngldm.pipeline.origin import origin
from ngldm.pipeline.terminal import Device, NoiseLabel, command, duration, progress, summary
from ngldm.pipeline.tracking.dead import working_on_runs
from ngldm.pipeline.tracking.scores import record_scores
from ngldm.pipeline.tracking.store import Store
from ngldm.scoring.distance.scorer import Scorer
from ngldm.scoring.evaluation.asked.scores import asked_scores, check_asked
from ngldm.scoring.evaluation.neighbours import nearest_images
from ngldm.scoring.evaluation.scores import STEPS, score
from ngldm.scoring.features.extractor import extract_spread
from ngldm.scoring.further.scores import beside_points, class_scores, further_scores


def evaluate(noise: NoiseLabel, device: Device = "auto") -> None:
    """Compute Frechet distance, KID, precision and recall of each sampler's images against the training images."""
    params = load_params()
    workspace.require_label("noise", noise, params.training_labels)
    target = resolve_device(device)
    be_deterministic()
    config, start = params.evaluate, time.perf_counter()
    sets = {sampler: load_samples(workspace.samples(noise, sampler)) for sampler in params.samplers}
    for sampler in params.samplers:
        require_origin(workspace.samples(noise, sampler), noise, sampler)
    count = same_number({sampler: len(images) for sampler, (images, _) in sets.items()})
    scorer = stage_scorer(config, count, target)
    check_asked(scorer, config)
    all_features = measure(noise, {sampler: images for sampler, (images, _) in sets.items()}, scorer, config.batch_size)
    if not processes.is_main():
        return
    scores = {}
    for sampler, (images, _) in sets.items():
        features = all_features[sampler]
        with progress(f"scores {noise} {sampler}", STEPS, "scores") as advance:
            found = score(scorer, features, config, advance)
        compared = (images[: scorer.count], features, scorer.reference.features)
        further = further_scores(workspace.FURTHER, *compared, config.neighbours)
        asked = asked_classes(workspace.samples(noise, sampler))
        own = asked_scores(scorer, features, config) | class_scores(workspace.FURTHER, images, features, asked)
        scores[sampler] = replace(found, further={**further, **own})
    beside = beside_points(workspace.FURTHER, {sampler: images for sampler, (images, _) in sets.items()})
    beside |= nearest_images(workspace.REFERENCE, all_features, scorer.reference)
    seconds = time.perf_counter() - start
    figures = {sampler: {**found.named(), "num_samples": scorer.count} for sampler, found in scores.items()}
    made = {"seconds": seconds, "made": origin(target)}
    write_json(workspace.metrics("evaluate", noise), {"samplers": figures, **beside, **made})
    store = Store(params.experiment)
    with working_on_runs(store):
        for sampler, pictures in sets.items():
            record_scores(store, params, (noise, sampler), scorer, scores[sampler], pictures)
    distances = {f"{scorer.metric} {sampler}": found.distance for sampler, found in scores.items()}
    summary(f"evaluate {noise}", {**distances, "images each": scorer.count, "time": duration(seconds)})


def measure(noise: str, sets: dict[str, Items], scorer: Scorer, batch_size: int) -> dict[str, Tensor]:
    """Features (N, D) of each sampler's images, for the main process. Several processes share the images."""
    files = [workspace.samples(noise, sampler) / f"{noun(images)}.npy" for sampler, images in sets.items()]
    settings = {
        "weights": scorer.extractor.weights_sha256,
        "resizing": scorer.reference.about.get("resizing"),
        "count": scorer.count,
        "batch_size": batch_size,
    }
    behind = {**made_from(settings, files, Path(__file__)), "device": scorer.device.type}
    found = {}
    with resumable(f"evaluate {noise}", f"_evaluate-{noise}", behind, 1) as checkpointer:
        for sampler, images in sets.items():
            with progress(f"features {noise} {sampler}", scorer.count, lower="evaluate.batch_size") as advance:
                kept = Parts(checkpointer, sampler)
                batches = extract_spread(scorer.extractor, images[: scorer.count], batch_size, advance, kept)
                found[sampler] = list(batches)
    return {sampler: torch.cat(batches) for sampler, batches in found.items() if batches}


main = command(evaluate, many=True)
if __name__ == "__main__":
    main()
