"""Feature extractors: they turn uint8 images into vectors, and scores compare sets of these vectors.

- `inception` is the network of FID, from the package pytorch-fid. Only its distance is called `fid`.
- `classifier` is a small network that is trained on the data set's own labels. It is for small or grey images, on which
  Inception features say little. Its distance is called `fd_classifier`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ngldm.io.errors import unknown
from ngldm.io.images import UInt8Array
from ngldm.scoring.features.classifier import ClassifierExtractor
from ngldm.scoring.features.inception import InceptionExtractor, inception_weights
from ngldm.scoring.names import EXTRACTORS


class Extractor(Protocol):
    """What scoring needs from an extractor.

    Attributes:
        name: "classifier" or "inception".
        metric: name of its Frechet distance in tables.
        dim: length of a feature vector.
        weights_sha256: SHA-256 of the file of its weights.
    """

    name: str
    metric: str
    dim: int
    weights_sha256: str

    def __call__(self, images: UInt8Array) -> Tensor:
        """Features, float32 (B, dim) on the CPU, of uint8 images (B, H, W, C)."""
        ...


def make_extractor(
    name: str, *, classifier: Path, inception: str | None, device: torch.device | str = "cpu"
) -> Extractor:
    """The extractor of that name.

    Args:
        name: "classifier" or "inception".
        classifier: file of the trained classifier.
        inception: path of the Inception weights; None takes torch's cache.
        device: where the network computes.

    Raises:
        InputError: an unknown name, or the weights are missing or damaged.
    """
    if name == "classifier":
        return ClassifierExtractor(classifier, device)
    if name == "inception":
        return InceptionExtractor(inception_weights(inception), device)
    raise unknown("evaluate.extractor", name, EXTRACTORS)


def extract(
    extractor: Extractor,
    images: UInt8Array,
    batch_size: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Iterator[Tensor]:
    """Features (B, dim) of uint8 images (N, H, W, C), batch by batch. `progress` gets the number of images of each."""
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        yield extractor(batch)
        progress(len(batch))
