"""Stage `reference`: features of the real images and their statistics, with which generated images are compared."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ngldm.data.dataset import open_dataset
from ngldm.data.reference import CLASSIFIER, read_statistics
from ngldm.io import processes
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.files import atomic_directory, entry, read_json, write_described, write_json
from ngldm.io.items import Items, as_images, as_points
from ngldm.pipeline import workspace
from ngldm.pipeline.checkpoints import resumable
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.params import Params, load_params
from ngldm.pipeline.experiments.extractor import heldout_accuracy, train_classifier, write_reference
from ngldm.pipeline.terminal import Device, command, duration, follow, progress, summary
from ngldm.scoring.distance.protocol import shortfall
from ngldm.scoring.features.classifier import save_classifier
from ngldm.scoring.features.extractor import Extractor, choose_extractor, make_extractor
from ngldm.scoring.features.names import PRETRAINED
from ngldm.scoring.features.points import SCALE, save_scale
from ngldm.scoring.ladder import MAX_IMAGES, climb
from ngldm.training.checkpoints.decisive import decisive


def reference(device: Device = "auto") -> None:
    """Train the extractor, unless others trained it. Store features and statistics of the training items.

    It learns labels if there are two classes or more, else how an image was rotated. The floor is the distance of test
    to training images, as of a perfect generator. The stage also measures whether damaged images are farther away.
    """
    params, target = load_params(), resolve_device(device)
    be_deterministic()
    scoring, data = params.evaluate, open_dataset(workspace.DATASET)
    name = "points" if data.points else choose_extractor(scoring.extractor, data.train_labels)
    metrics: dict[str, float] = {}
    start = time.perf_counter()
    with ExitStack() as held, atomic_directory(workspace.REFERENCE) as folder:
        if name == "points":
            save_scale(as_points(data.train), folder / SCALE)
        elif name not in PRETRAINED:
            made_of, every = behind_classifier(params, name), params.reference.fit.eval_every
            checkpointer = held.enter_context(resumable("reference", name, made_of, every))
            trained = train_classifier(data, params, name, target, checkpointer, follow)
            if processes.is_main():
                metrics["accuracy"] = heldout_accuracy(trained, data, name)
            save_classifier(trained, folder / CLASSIFIER, name)
        trained_file, weights, resizing = folder / CLASSIFIER, scoring.weights, scoring.resizing
        extractor = make_extractor(name, classifier=trained_file, weights=weights, resizing=resizing, device=target)
        with progress("features", len(data.train) + len(data.test), lower="evaluate.batch_size") as advance:
            found = write_reference(extractor, data, folder, scoring.batch_size, advance)
        if found is None:
            return
        damaged = {} if data.points else {"ladder": climb_ladder(extractor, data.test, folder, scoring.batch_size)}
        for note in shortfall("standard", extractor.dim, len(data.test), len(data.train)):
            print(f"note on the floor: {note}")
        metrics[f"floor_{extractor.metric}"] = entry(found, "floor", float)
        made_of_data = entry(read_json(workspace.DATASET / "dataset.json"), "sha256", dict)["train"]
        about = {**found, "resizing": scoring.resizing, "dataset_sha256": made_of_data, **metrics, **damaged}
        write_described(folder / "reference.json", about, ["features.npy", "statistics.npz", workspace.FURTHER.name])
    seconds = time.perf_counter() - start
    write_json(workspace.metrics("reference"), {**metrics, "seconds": seconds})
    summary(f"reference {extractor.name}", {**metrics, "images": len(data.train), "time": duration(seconds)})


def climb_ladder(extractor: Extractor, test: Items, folder: Path, batch_size: int) -> dict[str, object]:
    """Distances of damaged test images, for reference.json. Faults are printed as warnings."""
    with progress("damaged images", 5 * min(len(test), MAX_IMAGES)) as advance:
        ladder = climb(extractor, as_images(test), read_statistics(folder / "statistics.npz"), batch_size, advance)
    for fault in ladder.faults:
        print(f"warning: the extractor {extractor.name} does not see damage: {fault}")
    return ladder.as_json()


def behind_classifier(params: Params, name: str) -> dict[str, Any]:
    """Everything that the network of the extractor `name` depends on."""
    config = params.reference
    settings = {**config.model_dump(exclude={"fit"}), "seed": params.seed, "fit": decisive(config.fit.model_dump())}
    files = ("dataset.json", "train_labels.npy", "held_out_labels.npy") if name == "classifier" else ("dataset.json",)
    inputs = [path for path in (workspace.DATASET / file for file in files) if path.exists()]
    return made_from(settings, inputs, Path(__file__))


main = command(reference, many=True)
if __name__ == "__main__":
    main()
