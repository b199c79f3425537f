"""All scores of generated images beside distances, precision and recall."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ngldm.io.images import UInt8Array
from ngldm.scoring.features.names import PER_CLASS
from ngldm.scoring.further.coverage import by_class, coverage
from ngldm.scoring.further.memorisation import memorised
from ngldm.scoring.further.precision_recall import inside
from ngldm.scoring.further.spectrum import radial_spectrum, spectrum_error

ACCURACY = "class_accuracy"


@dataclass(frozen=True)
class ClassHead:
    """Finds the class of an image in its features: the largest of `weight` (K, D) times features plus `bias` (K,)."""

    weight: Tensor
    bias: Tensor

    def classes(self, features: Tensor) -> Tensor:
        """(M,) classes of images with the features (M, D)."""
        return (features.to(self.weight) @ self.weight.T + self.bias).argmax(1)


@dataclass(frozen=True)
class RealImages:
    """What is known of the real images.

    Attributes:
        train: (N, D) features of training images.
        test: (T, D) features of test images.
        test_labels: (T,) their classes.
        spectrum: of the training images (`radial_spectrum`).
        head: finds classes in features; None if the extractor knows no classes.
    """

    train: Tensor
    test: Tensor
    test_labels: Tensor
    spectrum: NDArray[np.float64]
    head: ClassHead | None = None


def image_score_names(labels: NDArray[np.number], head: bool) -> list[str]:
    """The names of all scores of `image_scores`.

    Args:
        labels: (T,) of the test images.
        head: whether the classes of generated images can be found.
    """
    classes = [int(label) for label in np.unique(labels)]
    by_class = ("coverage", "recall", "share", "memorised") if head else ("coverage", "recall")
    one = [f"{name}{PER_CLASS}{label}" for name in by_class for label in classes if len(classes) > 1]
    return ["density", "coverage", "memorised", "memorised_expected", "spectrum_log10", *one]


def image_scores(
    images: UInt8Array, features: Tensor, real: RealImages, neighbours: int, wanted: Collection[str] | None = None
) -> dict[str, float]:
    """Density, coverage, recall per class, memorisation and spectrum.

    Density and coverage are taken against test images: what a model copied from training images does not count.

    Args:
        images: (M, H, W, C) generated.
        features: (M, D) theirs.
        real: what they are compared with.
        neighbours: k of the recall.
        wanted: names of the scores; None takes all. Others are not computed.

    Returns:
        `density`, `coverage`; `memorised` and `memorised_expected`, what a generator of the true distribution reaches;
        `spectrum_log10`; and where there are classes `coverage_class_<label>`, `recall_class_<label>`. Where `real` has
        a head also `share_class_<label>`: how often it finds the class among generated images, divided by how often
        among training images, 1 is right; and `memorised_class_<label>`: `memorised` of the generated images in which
        it finds the class, 0 if there are none.
    """
    names = image_score_names(real.test_labels.numpy(), real.head is not None)
    asked = [name for name in names if wanted is None or name in wanted]
    classes = f"coverage{PER_CLASS}", f"recall{PER_CLASS}"
    scores: dict[str, float] = {}
    if any(name in ("density", "coverage") or name.startswith(classes[0]) for name in asked):
        found = coverage(real.test, features)
        scores |= {"density": found.density, "coverage": float(found.covered.float().mean())}
        scores |= {f"{classes[0]}{k}": share for k, share in by_class(found.covered, real.test_labels).items()}
    if any(name == "memorised" or name.startswith(f"memorised{PER_CLASS}") for name in asked):
        copied = memorised(features, real.train, real.test)
        scores |= {"memorised": float(copied.float().mean()), **_memorised_by_class(copied, features, real)}
    scores["memorised_expected"] = len(real.train) / (len(real.train) + len(real.test))
    if "spectrum_log10" in asked:
        scores["spectrum_log10"] = spectrum_error(radial_spectrum(images), real.spectrum)
    if any(name.startswith(classes[1]) for name in asked):
        recalled = inside(real.test, features, neighbours)
        scores |= {f"{classes[1]}{k}": share for k, share in by_class(recalled, real.test_labels).items()}
    if real.head is not None:
        scores |= _shares(real.head.classes(features), real.head.classes(real.train), real.test_labels)
    return {name: scores[name] for name in asked}


def class_accuracy(found: Tensor, asked: Tensor) -> dict[str, float]:
    """The share of images whose class is the one that was asked for, of all and of each class.

    Args:
        found, asked: (N,) classes.

    Returns:
        `class_accuracy` and `class_accuracy_class_<label>`, each in [0, 1].
    """
    right = found == asked
    each = {f"{ACCURACY}{PER_CLASS}{label}": share for label, share in by_class(right, asked).items()}
    return {ACCURACY: float(right.double().mean()), **each}


def _shares(generated: Tensor, train: Tensor, labels: Tensor) -> dict[str, float]:
    """The share of each class of `labels` among generated images, divided by its share among training images.

    Both are found by the same head, so that its errors cancel. A class that it finds in no training image counts as one
    image.
    """
    found: dict[str, float] = {}
    for label in labels.unique():
        share, expected = ((classes == label).double().mean() for classes in (generated, train))
        found[f"share{PER_CLASS}{int(label)}"] = float(share / expected.clamp(min=1.0 / len(train)))
    return found


def _memorised_by_class(copied: Tensor, features: Tensor, real: RealImages) -> dict[str, float]:
    """The share of `copied` (M,) among the generated images of each class."""
    if real.head is None:
        return {}
    shares = by_class(copied, real.head.classes(features))
    return {f"memorised{PER_CLASS}{int(k)}": shares.get(int(k), 0.0) for k in real.test_labels.unique()}
