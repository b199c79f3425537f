"""All scores of generated images beside distances, precision and recall."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ngldm.io.images import UInt8Array
from ngldm.scoring.further.coverage import by_class, coverage
from ngldm.scoring.further.memorisation import memorised
from ngldm.scoring.further.spectrum import radial_spectrum, spectrum_error
from ngldm.scoring.precision_recall import inside

PER_CLASS = "_class_"  # in the names of the scores of one class, before its label


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


def image_scores(images: UInt8Array, features: Tensor, real: RealImages, neighbours: int) -> dict[str, float]:
    """Density, coverage, recall per class, memorisation and spectrum.

    Density and coverage are taken against test images: what a model copied from training images does not count.

    Args:
        images: (M, H, W, C) generated.
        features: (M, D) theirs.
        real: what they are compared with.
        neighbours: k of the recall.

    Returns:
        `density`, `coverage`; `memorised` and `memorised_expected`, what a generator of the true distribution reaches;
        `spectrum_log10`; and where there are classes `coverage_class_<label>`, `recall_class_<label>`.
    """
    found = coverage(real.test, features)
    scores = {
        "density": found.density,
        "coverage": float(found.covered.float().mean()),
        "memorised": memorised(features, real.train, real.test),
        "memorised_expected": len(real.train) / (len(real.train) + len(real.test)),
        "spectrum_log10": spectrum_error(radial_spectrum(images), real.spectrum),
    }
    if len(real.test_labels.unique()) > 1:
        recalled = inside(real.test, features, neighbours)
        for name, flags in (("coverage", found.covered), ("recall", recalled)):
            scores |= {f"{name}{PER_CLASS}{k}": share for k, share in by_class(flags, real.test_labels).items()}
    return scores
