"""What the reference holds beside statistics: the network behind an extractor, trained on labels or on rotations if
there are no labels, and what the further scores compare with."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.data.dataset import Dataset
from ngldm.data.reference import MAX_FEATURES
from ngldm.io.items import as_images
from ngldm.io.tensors import to_float
from ngldm.pipeline.config.params import Params
from ngldm.scoring.features.classifier import Classifier, accuracy, classifier_loss
from ngldm.scoring.further.spectrum import radial_spectrum
from ngldm.scoring.rotation import quarter_turns, rotated, rotation_accuracy
from ngldm.training.checkpoint import Checkpointer
from ngldm.training.ema import EMA
from ngldm.training.loop import Report, Split, Task, fit
from ngldm.training.seeds import stream_seed


def training_set(data: Dataset, name: str) -> tuple[int, Split[tuple[Tensor, Tensor]]]:
    """The number of classes, and images with their classes: labels for the classifier, else rotations."""
    if name == "classifier":
        size, images, labels = len(data.train), as_images(data.train), data.train_labels
        return data.num_classes, Split(size, lambda i: (to_float(images[i]), torch.from_numpy(labels[i])))
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
    follow: Callable[[str, int, Iterable[Report]], object],
) -> Classifier:
    """A network trained on labels or rotations. Its features are standardised on the training images.

    Args:
        name: of the extractor.
        follow: gets the name, the number of steps and the reports of the training. It must run through the reports.
    """
    config, seed = params.reference, params.seed
    num_classes, split = training_set(data, name)
    torch.manual_seed(stream_seed(seed, "classifier"))
    model = Classifier(data.image_shape, num_classes, config.width, config.dim)
    ema = EMA(model, config.fit.ema_decay)
    task = Task(classifier_loss, split)
    training = fit(model, ema, task, config.fit, seed=seed, device=device, checkpointer=checkpointer)
    follow(name, config.fit.max_steps, training)
    trained = ema.model.to("cpu")
    trained.standardise(as_images(data.train))
    return trained


def kept_tests(count: int) -> Tensor:
    """The numbers of the test images of `count` whose features are kept: at most `MAX_FEATURES`, a random subset."""
    return torch.from_numpy(np.random.default_rng(0).permutation(count)[:MAX_FEATURES])


def further_reference(data: Dataset, kept: Tensor, test_features: Tensor) -> dict[str, NDArray[np.generic]]:
    """The arrays of further.npz (`ngldm.scoring.further.scores`).

    Args:
        kept: (K,) numbers of test images (`kept_tests`).
        test_features: (K, D) theirs.
    """
    if data.points is not None:
        centres = np.array(data.points.centres, np.float64).reshape(-1, data.train.shape[1])
        return {"train": data.train, "test": data.test, "centres": centres}
    return {
        "test_features": test_features.numpy(),
        "test_labels": data.test_labels[kept.numpy()],
        "spectrum": radial_spectrum(as_images(data.train)),
    }
