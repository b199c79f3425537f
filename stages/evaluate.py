"""Stage `evaluate@<noise>`: score the images of all samplers of one noise. MLflow gets scores and pictures."""

import time
from dataclasses import replace

import torch

from ngldm.data.samples import load_samples
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.errors import InputError
from ngldm.io.files import write_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.scorer import stage_scorer
from ngldm.pipeline.terminal import Device, NoiseLabel, command, duration, progress, summary
from ngldm.pipeline.tracking.scores import record_scores
from ngldm.pipeline.tracking.store import Store
from ngldm.scoring.asked.scores import asked_scores, check_asked
from ngldm.scoring.further.scores import beside_points, further_scores
from ngldm.scoring.scores import STEPS, score


def evaluate(noise: NoiseLabel, device: Device = "auto") -> None:
    """Compute Frechet distance, KID, precision and recall of each sampler's images against the training images."""
    params = load_params()
    workspace.require_label("noise", noise, params.noises)
    target = resolve_device(device)
    be_deterministic()
    config, start = params.evaluate, time.perf_counter()
    sets = {sampler: load_samples(workspace.samples(noise, sampler)) for sampler in params.samplers}
    count = same_number({sampler: len(images) for sampler, (images, _) in sets.items()})
    scorer = stage_scorer(config, count, target)
    check_asked(scorer, config)
    scores = {}
    for sampler, (images, _) in sets.items():
        with progress(f"features {noise} {sampler}", scorer.count) as advance:
            features = torch.cat(list(scorer.features(images[: scorer.count], config.batch_size, advance)))
        with progress(f"scores {noise} {sampler}", STEPS, "scores") as advance:
            found = score(scorer, features, config, advance)
        compared = (images[: scorer.count], features, scorer.reference.features)
        further = further_scores(workspace.FURTHER, *compared, config.neighbours)
        scores[sampler] = replace(found, further={**further, **asked_scores(scorer, features, config)})
    beside = beside_points(workspace.FURTHER, {sampler: images for sampler, (images, _) in sets.items()})
    seconds = time.perf_counter() - start
    figures = {sampler: {**found.named(), "num_samples": scorer.count} for sampler, found in scores.items()}
    write_json(workspace.metrics("evaluate", noise), {"samplers": figures, **beside, "seconds": seconds})
    store = Store(params.experiment)
    for sampler, pictures in sets.items():
        record_scores(store, params, (noise, sampler), scorer, scores[sampler], pictures)
    distances = {f"{scorer.metric} {sampler}": found.distance for sampler, found in scores.items()}
    summary(f"evaluate {noise}", {**distances, "images each": scorer.count, "time": duration(seconds)})


def same_number(counts: dict[str, int]) -> int:
    """The number of images that each sampler has.

    Raises:
        InputError: the numbers differ, so the scores could not be compared.
    """
    if len(set(counts.values())) > 1:
        raise InputError(f"samples: different numbers of images, {counts}; run the stage `sample` of all again")
    return next(iter(counts.values()))


main = command(evaluate)
if __name__ == "__main__":
    main()
