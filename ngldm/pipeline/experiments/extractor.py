"""What the reference holds beside statistics: the network behind an extractor, trained on labels or on rotations if
there are no labels, and what the further scores compare with."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.data.dataset import Dataset
from ngldm.data.reference import MAX_FEATURES
from ngldm.io.items import as_images
from ngldm.io.tensors import to_float
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.scoring.distance.scorer import measure_real
from ngldm.scoring.features.classifier import Classifier, ClassifierExtractor, accuracy, classifier_loss
from ngldm.scoring.features.extractor import Extractor
from ngldm.scoring.further.spectrum import radial_spectrum
from ngldm.scoring.rotation import quarter_turns, rotated, rotation_accuracy
from ngldm.training.checkpoints.checkpointer import Checkpointer
from ngldm.training.ema import EMA
from ngldm.training.loop import Report, fit
from ngldm.training.seeds import stream_seed
from ngldm.training.task import Split, Task


def training_set(data: Dataset, name: str) -> tuple[int, Split[tuple[Tensor, Tensor]]]:
    """The number of classes, and images with their classes: labels for the classifier, else rotations.

    The images are those of the training split. The classifier also learns from those that are held out of it
    (`dataset.long_tail`): it must know the rare classes better than the models that it measures.
    """
    if name == "classifier":
        images, labels = as_images(data.train), data.train_labels
        if data.held_out is not None and data.held_out_labels is not None:
            images = np.concatenate([images, as_images(data.held_out)])
            labels = np.concatenate([labels, data.held_out_labels])
        return data.num_classes, Split(len(images), lambda i: (to_float(images[i]), torch.from_numpy(labels[i])))
    turns = quarter_turns(data.image_shape)

    def fetch(index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        found, kinds = rotated(as_images(data.train), index, turns)
        return to_float(found), torch.from_numpy(kinds)

    return len(turns), Split(len(turns) * len(data.train), fetch)


def heldout_accuracy(model: Classifier, data: Dataset, name: str) -> float:
    """Share of the test images, or of their rotations, for which the network finds the right class."""
    if name == "classifier":
        return accuracy(model, as_images(data.test), data.test_labels)
    return rotation_accuracy(model, as_images(data.test), quarter_turns(data.image_shape))


def train_classifier(
    data: Dataset,
    params: Params,
    name: str,
    device: torch.device,
    checkpointer: Checkpointer,
    follow: Callable[[str, int, Iterable[Report], str], object],
) -> Classifier:
    """A network trained on labels or rotations. Its features are standardised on the training images.

    Args:
        name: of the extractor.
        follow: gets the name, the number of steps, the reports and the section of the training's settings. It must run
            through the reports.
    """
    config, seed = params.reference, params.seed
    num_classes, split = training_set(data, name)
    torch.manual_seed(stream_seed(seed, "classifier"))
    model = Classifier(data.image_shape, num_classes, config.width, config.dim)
    ema = EMA(model, config.fit.ema_decay)
    task = Task(classifier_loss, split)
    training = fit(model, ema, task, config.fit, seed=seed, device=device, checkpointer=checkpointer)
    follow(name, config.fit.max_steps, training, "reference.fit")
    trained = ema.model.to("cpu")
    trained.standardise(as_images(data.train))
    return trained


def kept_tests(count: int) -> Tensor:
    """The numbers of the test images of `count` whose features are kept: at most `MAX_FEATURES`, a random subset."""
    return torch.from_numpy(np.random.default_rng(0).permutation(count)[:MAX_FEATURES])


def write_reference(
    extractor: Extractor, data: Dataset, folder: Path, batch_size: int, advance: Callable[[int], None] = lambda n: None
) -> dict[str, object] | None:
    """Write what generated items are compared with into an existing folder: statistics, features and further.npz.

    Args:
        extractor: its own file, if it has one, is in the folder already.
        batch_size: items per call of the extractor.
        advance: called with the number of items of each batch, of both splits.

    Returns:
        What reference.json says of them. None but for the main process.
    """
    tests = kept_tests(len(data.test))
    measured = measure_real(extractor, data, folder, batch_size, tests, advance)
    if measured is None:
        return None
    floor, test_features = measured
    further = further_reference(data, tests, test_features, extractor)
    np.savez(folder / workspace.FURTHER.name, allow_pickle=False, **further)
    return {
        "extractor": extractor.name,
        "metric": extractor.metric,
        "weights_sha256": extractor.weights_sha256,
        "num_images": len(data.train),
        **({} if data.total is None else {"train_images": data.total}),
        "floor": floor,
        "floor_num_images": len(data.test),
    }


def further_reference(
    data: Dataset, kept: Tensor, test_features: Tensor, extractor: Extractor
) -> dict[str, NDArray[np.generic]]:
    """The arrays of further.npz (`ngldm.scoring.further.scores`).

    Args:
        kept: (K,) numbers of test images (`kept_tests`).
        test_features: (K, D) theirs.
        extractor: gave the features. One that knows the classes of the labels also gives what finds them in features.
    """
    if data.points is not None:
        centres = np.array(data.points.centres, np.float64).reshape(-1, data.train.shape[1])
        return {"train": data.train, "test": data.test, "centres": centres}
    return {
        "test_features": test_features.numpy(),
        "test_labels": data.test_labels[kept.numpy()],
        "spectrum": radial_spectrum(as_images(data.train)),
        **_class_head(extractor),
    }


def _class_head(extractor: Extractor) -> dict[str, NDArray[np.generic]]:
    """Weights (K, D) and biases (K,) that find classes in features; K is 0 if the extractor knows no classes."""
    if isinstance(extractor, ClassifierExtractor) and extractor.name == "classifier":
        weight, bias = extractor.model.class_head()
    else:
        weight, bias = torch.zeros(0, extractor.dim), torch.zeros(0)
    return {"class_weight": weight.cpu().numpy(), "class_bias": bias.cpu().numpy()}
