"""Stage `reference`: what generated images are compared with: features and their statistics of the real ones."""

import time

from ngldm.io.device import be_deterministic, resolve_device
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import Device, command, duration, fit_with_progress, progress, summary


def reference(device: Device = "auto") -> None:
    """Train the classifier on the labels if it is the extractor; store the training images' features and statistics.

    The test images' distance to the training images is the floor: what a perfect generator could be expected to reach.
    """
    params = load_params()
    target = resolve_device(device)
    be_deterministic()
    import torch

    from ngldm.data.dataset import open_dataset
    from ngldm.data.reference import save_reference
    from ngldm.io.files import atomic_directory, entry, read_json, write_json
    from ngldm.io.tensors import to_float
    from ngldm.scoring.features.classifier import Classifier, accuracy, classifier_loss, save_classifier
    from ngldm.scoring.features.extractor import extract, make_extractor
    from ngldm.scoring.frechet import Moments, frechet_distance
    from ngldm.scoring.protocol import shortfall
    from ngldm.training.ema import EMA
    from ngldm.training.loop import Split
    from ngldm.training.seeds import stream_seed

    config, scoring, data = params.reference, params.evaluate, open_dataset(workspace.DATASET)
    metrics: dict[str, float] = {}
    start = time.perf_counter()
    with atomic_directory(workspace.REFERENCE) as folder:
        classifier = folder / "classifier.safetensors"
        if scoring.extractor == "classifier":
            torch.manual_seed(stream_seed(params.seed, "classifier"))
            model = Classifier(data.image_shape, data.num_classes, config.width, config.dim)
            ema = EMA(model, config.fit.ema_decay)
            split = Split(
                len(data.train),
                lambda index: (to_float(data.train[index]), torch.from_numpy(data.train_labels[index])),
            )
            fit_with_progress(
                "classifier", model, ema, classifier_loss, split, config=config.fit, seed=params.seed, device=target
            )
            trained: Classifier = ema.model.to("cpu")
            trained.standardise(data.train)
            metrics["accuracy"] = accuracy(trained, data.test, data.test_labels)
            save_classifier(trained, classifier)
        extractor = make_extractor(
            scoring.extractor, classifier=classifier, inception=scoring.inception_weights, device=target
        )
        moments = {}
        with progress("features", len(data.train) + len(data.test)) as advance:
            for split_name, images in (("train", data.train), ("test", data.test)):
                features = list(extract(extractor, images, scoring.batch_size, advance))
                moments[split_name] = Moments(extractor.dim)
                for batch in features:
                    moments[split_name].update(batch)
                if split_name == "train":
                    save_reference(folder, moments["train"].mean, moments["train"].cov, torch.cat(features))
        for note in shortfall("standard", extractor.dim, len(data.test), len(data.train)):
            print(f"note on the floor: {note}")
        floor = frechet_distance(moments["train"].mean, moments["train"].cov, moments["test"].mean, moments["test"].cov)
        metrics[f"floor_{extractor.metric}"] = floor
        about = {
            "extractor": extractor.name,
            "metric": extractor.metric,
            "weights_sha256": extractor.weights_sha256,
            "dataset_sha256": entry(read_json(workspace.DATASET / "dataset.json"), "sha256", dict)["train"],
            "num_images": len(data.train),
            "floor": floor,
            "floor_num_images": len(data.test),
            **metrics,
        }
        write_json(folder / "reference.json", about)
    seconds = time.perf_counter() - start
    write_json(workspace.REFERENCE_METRICS, {**metrics, "seconds": seconds})
    summary(f"reference {extractor.name}", {**metrics, "images": len(data.train), "time": duration(seconds)})


main = command(reference)
if __name__ == "__main__":
    main()
