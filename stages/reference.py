"""Stage `reference`: features of the real images and their statistics, with which generated images are compared."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from ngldm.data.dataset import Dataset, open_dataset
from ngldm.data.reference import CLASSIFIER
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.files import atomic_directory, entry, read_json, write_json
from ngldm.io.tensors import to_float
from ngldm.pipeline import workspace
from ngldm.pipeline.checkpoints import resumable
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.params import Params, load_params
from ngldm.pipeline.terminal import Device, command, duration, follow, progress, summary
from ngldm.scoring.features.classifier import Classifier, accuracy, classifier_loss, save_classifier
from ngldm.scoring.features.extractor import make_extractor
from ngldm.scoring.protocol import shortfall
from ngldm.scoring.scorer import measure_real
from ngldm.training.checkpoint import Checkpointer, decisive
from ngldm.training.ema import EMA
from ngldm.training.loop import Split, Task, fit
from ngldm.training.seeds import stream_seed


def reference(device: Device = "auto") -> None:
    """Train the classifier, if it is the extractor. Store features and statistics of the training images.

    The distance of the test images to the training images is called the floor. A perfect generator can be expected to
    reach it with as many images.
    """
    params = load_params()
    target = resolve_device(device)
    be_deterministic()
    scoring, data = params.evaluate, open_dataset(workspace.DATASET)
    metrics: dict[str, float] = {}
    start = time.perf_counter()
    with ExitStack() as held, atomic_directory(workspace.REFERENCE) as folder:
        if scoring.extractor == "classifier":
            made_of, every = behind_classifier(params), params.reference.fit.eval_every
            checkpointer = held.enter_context(resumable("reference", "classifier", made_of, every))
            trained = train_classifier(data, params, target, checkpointer)
            metrics["accuracy"] = accuracy(trained, data.test, data.test_labels)
            save_classifier(trained, folder / CLASSIFIER)
        extractor = make_extractor(
            scoring.extractor, classifier=folder / CLASSIFIER, inception=scoring.inception_weights, device=target
        )
        with progress("features", len(data.train) + len(data.test)) as advance:
            floor = measure_real(extractor, data, folder, scoring.batch_size, advance)
        for note in shortfall("standard", extractor.dim, len(data.test), len(data.train)):
            print(f"note on the floor: {note}")
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
    write_json(workspace.metrics("reference"), {**metrics, "seconds": seconds})
    summary(f"reference {extractor.name}", {**metrics, "images": len(data.train), "time": duration(seconds)})


def behind_classifier(params: Params) -> dict[str, Any]:
    """Everything that the classifier depends on."""
    config = params.reference
    settings = {**config.model_dump(exclude={"fit"}), "seed": params.seed, "fit": decisive(config.fit.model_dump())}
    inputs = [workspace.DATASET / name for name in ("dataset.json", "train_labels.npy")]
    return made_from(settings, inputs, Path(__file__))


def train_classifier(data: Dataset, params: Params, device: torch.device, checkpointer: Checkpointer) -> Classifier:
    """A classifier trained on the training images and labels. Its features are standardised on these images."""
    config, seed = params.reference, params.seed
    torch.manual_seed(stream_seed(seed, "classifier"))
    model = Classifier(data.image_shape, data.num_classes, config.width, config.dim)
    ema = EMA(model, config.fit.ema_decay)
    split = Split(len(data.train), lambda i: (to_float(data.train[i]), torch.from_numpy(data.train_labels[i])))
    task = Task(classifier_loss, split)
    training = fit(model, ema, task, config.fit, seed=seed, device=device, checkpointer=checkpointer)
    follow("classifier", config.fit.max_steps, training)
    trained = ema.model.to("cpu")
    trained.standardise(data.train)
    return trained


main = command(reference)
if __name__ == "__main__":
    main()
