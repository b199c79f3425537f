"""Stage `evaluate@<noise>-<sampler>`: score one set of images, record scores and pictures in MLflow."""

import time

from ngldm.io.device import be_deterministic, resolve_device
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import Device, NoiseLabel, SamplerLabel, command, duration, progress, summary


def evaluate(
    noise: NoiseLabel,
    sampler: SamplerLabel,
    device: Device = "auto",
) -> None:
    """Frechet distance and KID of the generated images to the training images."""
    params = load_params()
    workspace.require_label("noise", noise, params.noises)
    workspace.require_label("sampler", sampler, params.samplers)
    target = resolve_device(device)
    be_deterministic()
    import torch

    from ngldm.data.reference import load_reference
    from ngldm.data.samples import load_images
    from ngldm.io.files import entry, read_json, write_json
    from ngldm.io.images import sample_grid
    from ngldm.pipeline.tracking.comparison import run_of_model
    from ngldm.pipeline.tracking.models import ensure_logged, update_best
    from ngldm.pipeline.tracking.store import Store
    from ngldm.scoring.features.extractor import extract, make_extractor
    from ngldm.scoring.frechet import Moments, frechet_distance, frechet_spread
    from ngldm.scoring.kid import kid
    from ngldm.scoring.precision_recall import precision_recall
    from ngldm.scoring.protocol import by_protocol, compared, shortfall

    config, start = params.evaluate, time.perf_counter()
    images, trajectory = load_images(workspace.samples(noise, sampler))
    about = read_json(workspace.samples(noise, sampler) / "samples.json", "model_sha256")
    whole = load_reference(workspace.REFERENCE)
    extractor = make_extractor(
        config.extractor,
        classifier=workspace.REFERENCE / "classifier.safetensors",
        inception=config.inception_weights,
        device=target,
    )
    whole.require_extractor(extractor.weights_sha256)
    for note in shortfall(config.fid_protocol, extractor.dim, len(images), entry(whole.about, "num_images", int)):
        print(f"note: {note}")
    reference = by_protocol(whole, config.fid_protocol, len(images))
    images = images[: compared(config.fid_protocol, len(images), len(reference.features))]
    metric = entry(reference.about, "metric", str)
    with progress(f"features {noise} {sampler}", len(images)) as advance:
        features = torch.cat(list(extract(extractor, images, config.batch_size, advance)))
    with progress(f"scores {noise} {sampler}", 4, "scores") as advance:
        moments = Moments(extractor.dim).update(features)
        distance = frechet_distance(reference.mu, reference.sigma, moments.mean, moments.cov)
        advance(1, "KID")
        kernel = kid(reference.features, features, config.kid_subset_size, config.kid_subsets)
        advance(1, "spread")
        spread = frechet_spread(features, reference.mu, reference.sigma, config.bootstrap)
        advance(1, "precision and recall")
        # Both figures fall with the size of the real set: as many of it as were generated.
        manifold = precision_recall(reference.features[: len(features)], features, config.neighbours)
        advance(1)
    scores = {
        metric: distance,
        f"{metric}_std": spread,
        "kid": kernel.mean,
        "kid_std": kernel.std,
        "precision": manifold.precision,
        "recall": manifold.recall,
    }
    seconds = time.perf_counter() - start
    write_json(workspace.evaluate_metrics(noise, sampler), {**scores, "num_samples": len(images), "seconds": seconds})
    store, sha = Store(params.experiment), entry(about, "model_sha256", str)
    run = run_of_model(store, params, noise, sha, sampler)
    model_id = ensure_logged(store, run, workspace.model(noise), sha, noise, images.shape[1:])
    # Without a step: MLflow's charts draw bars of such metrics, and lone points of others.
    run.metrics({f"{key}.{sampler}": value for key, value in scores.items()}, model_id=model_id)
    run.picture(f"samples-{sampler}", sample_grid(images), run.step)
    for frame in range(len(trajectory)):  # the slider goes from noise to image
        run.picture(f"denoising-{sampler}", sample_grid(trajectory[frame], rows=2), frame)
    shared = ("dataset_sha256", "extractor", "weights_sha256", "metric")  # not figures, whose last digits may differ
    context = {**{key: reference.about.get(key) for key in shared}, "num_images": len(images)}
    update_best(store, noise, sha, distance, context)
    run.finish()
    summary(f"evaluate {noise} {sampler}", {**scores, "images": len(images), "time": duration(seconds)})


main = command(evaluate)
if __name__ == "__main__":
    main()
