"""Models for the pipeline's latents before they are trained, and what their training learns from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ngldm.data.cache.latents import Latents
from ngldm.data.dataset import Dataset
from ngldm.io.errors import InputError
from ngldm.io.files import entry
from ngldm.model import Model
from ngldm.networks.autoencoders.build import load_autoencoder
from ngldm.pipeline import workspace
from ngldm.training.seeds import stream_seed
from ngldm.training.task import Split, Task

AUTO = "auto"  # as network.num_classes: as many as the data set has


def fresh_model(
    settings: Mapping[str, object],
    seed: int,
    data: Dataset,
    cache: Latents,
    autoencoder_file: Path = workspace.AUTOENCODER,
) -> Model:
    """A model with an untrained network and a trained autoencoder.

    The weights of the network depend on the seed and its size alone: all noises of a seed start from the same.

    Args:
        settings: the keys noise, schedule and diffusion of `Model.build`, and those of `ngldm.model.item_settings`. If
            the network gets classes, `classes` has `num_classes` ("auto", or the number that the data set must have)
            and `label_dropout`.
        seed: of the training.
        data: the data set whose images or points the model will make.
        cache: their latents.
        autoencoder_file: of the autoencoder that made them; the pipeline's own.

    Raises:
        InputError: the file of the autoencoder is missing or damaged, a setting is not allowed, or the data set has not
            such classes.
    """
    autoencoder = load_autoencoder(autoencoder_file, data.item_shape)
    about: dict[str, object] = {"autoencoder": autoencoder.settings, "dataset": data.name}
    if "classes" in settings:
        about["classes"] = classes_of(data, entry(settings, "classes", dict))
    torch.manual_seed(stream_seed(seed, "unet"))
    return Model.build({**settings, **about}, autoencoder, cache.statistics, cache.extent())


def classes_of(data: Dataset, asked: Mapping[str, object]) -> dict[str, object]:
    """The settings `classes` of a model (`ngldm.diffusion.classes.Classes.of`) for a data set.

    Args:
        asked: `num_classes` and `label_dropout`.

    Raises:
        InputError: the data set has another number of classes, or only a sample of its labels is kept.
    """
    number = asked["num_classes"]
    if number not in (AUTO, data.num_classes):
        raise InputError(
            f"network.num_classes: {number}, but the data set {data.name!r} has {data.num_classes}; use auto"
        )
    if data.total is not None:
        raise InputError(
            f"network.num_classes: {number} needs the label of each training image, but with dataset.keep_pixels false "
            "only those of a sample are kept"
        )
    counts = np.bincount(data.train_labels, minlength=data.num_classes)
    return {"names": list(data.class_names), "counts": counts.tolist(), "label_dropout": asked["label_dropout"]}


def training_task(model: Model, data: Dataset, cache: Latents, heldout: bool = False) -> Task[Any]:
    """The loss of a model and the latents that it learns from, with their labels if the model has classes.

    Args:
        data: the data set of the latents.
        heldout: whether the loss of the test latents is measured while training.
    """
    if model.classes is None:
        return Task(model.diffusion.loss, Split.of(cache.train, cache.sides), Split.of(cache.test) if heldout else None)
    train = Split.labelled(cache.train, np.asarray(data.train_labels), cache.sides)
    test = Split.labelled(cache.test, np.asarray(data.test_labels)) if heldout else None
    return Task(model.classes.loss(model.diffusion), train, test)
