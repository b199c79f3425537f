"""Whether generated images are of the class that was asked for, by the classifier of the reference."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.data.reference import MADE_BY
from ngldm.io.images import load_arrays
from ngldm.scoring.further.coverage import by_class
from ngldm.scoring.further.images import ClassHead
from ngldm.scoring.names import PER_CLASS

ACCURACY = "class_accuracy"


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


def class_scores(path: Path, features: Tensor, asked: NDArray[np.int64]) -> dict[str, float]:
    """`class_accuracy` by the classifier that gave the features; nothing if the extractor knows no classes.

    Args:
        path: of further.npz, of images.
        features: (N, D) of the generated images.
        asked: (N,) classes.

    Raises:
        InputError: the file lacks what is needed.
    """
    real = load_arrays(path, ("class_weight", "class_bias"), MADE_BY)
    if not len(real["class_bias"]):
        return {}
    head = ClassHead(*(torch.from_numpy(real[key]) for key in ("class_weight", "class_bias")))
    return class_accuracy(head.classes(features), torch.tensor(asked))
