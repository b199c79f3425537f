"""Feature extractors: they turn uint8 images, or points, into vectors, and scores compare sets of these vectors.

- `inception` is the network of FID, from the package pytorch-fid. Only its distance is called `fid`.
- `dinov2` is the network of FD-DINOv2, from timm. Its distance is called `fd_dinov2`.
- `classifier` is a small network that is trained on the data set's own labels. It is for small or grey images, on which
  Inception features say little. Its distance is called `fd_classifier`.
- `rotation` is the same network, trained to find how an image was rotated. It is for images without labels. Its
  distance is called `fd_rotation`.
- `points` is for points: the points themselves on a logarithmic scale. Its distance is called `fd_points`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.io import processes
from ngldm.io.errors import InputError, unknown
from ngldm.io.items import Items
from ngldm.io.threads import following_free_cores
from ngldm.scoring.features.classifier import ClassifierExtractor
from ngldm.scoring.features.dinov2 import DinoV2Extractor, dinov2_weights
from ngldm.scoring.features.inception import InceptionExtractor, inception_weights
from ngldm.scoring.features.names import EXTRACTORS
from ngldm.scoring.features.points import SCALE, PointsExtractor


class Extractor(Protocol):
    """What scoring needs from an extractor.

    Attributes:
        name: one of `EXTRACTORS` but "auto".
        metric: name of its Frechet distance in tables.
        dim: length of a feature vector.
        weights_sha256: SHA-256 of the file of its weights.
    """

    name: str
    metric: str
    dim: int
    weights_sha256: str

    def __call__(self, images: Items) -> Tensor:
        """Features, float32 (B, dim) on the CPU, of uint8 images (B, H, W, C) or of points (B, d)."""
        ...


def make_extractor(
    name: str,
    *,
    classifier: Path,
    weights: str | None = None,
    resizing: str = "standard",
    device: torch.device | str = "cpu",
) -> Extractor:
    """The extractor of that name.

    Args:
        name: one of `EXTRACTORS` but "auto".
        classifier: file of the trained classifier; the file `SCALE`, of points, lies beside it.
        weights: of "inception" or "dinov2" (`inception_weights`, `dinov2_weights`); None takes the cache's.
        resizing: of the images for "inception" and "dinov2": one of `RESIZINGS`. The others resize nothing.
        device: where the network computes.

    Raises:
        InputError: an unknown name, or the weights are missing or damaged.
    """
    if name == "inception":
        return InceptionExtractor(inception_weights(weights), device, resizing)
    if name == "dinov2":
        return DinoV2Extractor(dinov2_weights(weights), device, resizing)
    if name == "points":
        return PointsExtractor(classifier.with_name(SCALE))
    if name not in ("classifier", "rotation"):
        raise unknown("evaluate.extractor", name, EXTRACTORS)
    extractor = ClassifierExtractor(classifier, device)
    if extractor.name != name:
        raise InputError(
            f"evaluate.extractor: {name}, but {classifier} holds the extractor {extractor.name}; "
            "run the stage `reference` again"
        )
    return extractor


def choose_extractor(name: str, train_labels: NDArray[np.int64]) -> str:
    """The extractor that a setting means for these images.

    Args:
        name: one of `EXTRACTORS`; "auto" is the classifier where the labels hold at least two classes, else rotation.
        train_labels: (N,).

    Raises:
        InputError: a classifier of fewer than two classes, whose features would mean nothing.
    """
    classes = len(np.unique(train_labels))
    if name == "auto":
        return "classifier" if classes > 1 else "rotation"
    if name == "classifier" and classes < 2:
        raise InputError(
            f"evaluate.extractor: classifier needs images of at least two classes, the training images have {classes}; "
            "choose auto or rotation, which need no labels, or inception or dinov2"
        )
    return name


def finite_features(extractor: Extractor, images: Items) -> Tensor:
    """`extractor(images)`, if all numbers are finite.

    Raises:
        InputError: they are not.
    """
    with following_free_cores():
        features = extractor(images)
    if not features.isfinite().all():
        raise InputError(
            f"extractor {extractor.name}: NaN or infinite features; its weights {extractor.weights_sha256[:12]} are "
            "damaged or not those of this network"
        )
    return features


def extract(
    extractor: Extractor,
    images: Items,
    batch_size: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Iterator[Tensor]:
    """Features (B, dim) of images (N, H, W, C) or points (N, d), batch by batch. `progress` gets the number of each.

    Raises:
        InputError: features are NaN or infinite.
    """
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        yield finite_features(extractor, batch)
        progress(len(batch))


def extract_spread(
    extractor: Extractor,
    images: Items,
    batch_size: int,
    progress: Callable[[int], None] = lambda count: None,
    kept: processes.Kept[NDArray[np.float32]] | None = None,
) -> Iterator[Tensor]:
    """The batches of `extract`, spread over the processes. Only the main one gets them.

    Args:
        kept: where finished batches are kept; None keeps none.
    """

    def make(part: int) -> NDArray[np.float32]:
        batch = np.asarray(images[part * batch_size : (part + 1) * batch_size])
        found: NDArray[np.float32] = finite_features(extractor, batch).numpy()
        return found

    for features in processes.spread(-(-len(images) // batch_size), make, kept):
        yield torch.from_numpy(features)
        progress(len(features))
