"""All scores of generated images beside distances, precision and recall."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ngldm.io.images import UInt8Array
from ngldm.scoring.further.coverage import by_class, coverage
from ngldm.scoring.further.memorisation import memorised
from ngldm.scoring.further.spectrum import radial_spectrum, spectrum_error
from ngldm.scoring.names import PER_CLASS
from ngldm.scoring.precision_recall import inside


@dataclass(frozen=True)
class RealImages:
    """What is known of the real images.

    Attributes:
        train: (N, D) features of training images.
        test: (T, D) features of test images.
        test_labels: (T,) their classes.
        spectrum: of the training images (`radial_spectrum`).
    """

    train: Tensor
    test: Tensor
    test_labels: Tensor
    spectrum: NDArray[np.float64]


def image_score_names(labels: NDArray[np.number]) -> list[str]:
    """The names of all scores of `image_scores`, for the labels (T,) of the test images."""
    classes = [int(label) for label in np.unique(labels)]
    one = [f"{name}{PER_CLASS}{label}" for name in ("coverage", "recall") for label in classes if len(classes) > 1]
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
        `spectrum_log10`; and where there are classes `coverage_class_<label>`, `recall_class_<label>`.
    """
    names = image_score_names(real.test_labels.numpy())
    asked = [name for name in names if wanted is None or name in wanted]
    classes = f"coverage{PER_CLASS}", f"recall{PER_CLASS}"
    scores: dict[str, float] = {}
    if any(name in ("density", "coverage") or name.startswith(classes[0]) for name in asked):
        found = coverage(real.test, features)
        scores |= {"density": found.density, "coverage": float(found.covered.float().mean())}
        scores |= {f"{classes[0]}{k}": share for k, share in by_class(found.covered, real.test_labels).items()}
    if "memorised" in asked:
        scores["memorised"] = memorised(features, real.train, real.test)
    scores["memorised_expected"] = len(real.train) / (len(real.train) + len(real.test))
    if "spectrum_log10" in asked:
        scores["spectrum_log10"] = spectrum_error(radial_spectrum(images), real.spectrum)
    if any(name.startswith(classes[1]) for name in asked):
        recalled = inside(real.test, features, neighbours)
        scores |= {f"{classes[1]}{k}": share for k, share in by_class(recalled, real.test_labels).items()}
    return {name: scores[name] for name in asked}
