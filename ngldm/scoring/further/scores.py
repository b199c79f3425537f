"""The further scores of generated items, by their kind, against the file further.npz of the stage `reference`.

For images it holds `test_features`, `test_labels`, the `spectrum` of the training images, and `class_weight` and
`class_bias`, which find classes in features (no rows if the extractor knows no classes); for points `train` and `test`,
and the `centres` of the modes.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.data.reference import MADE_BY
from ngldm.io.errors import InputError
from ngldm.io.images import load_arrays
from ngldm.io.items import Items, are_points, as_images, as_points
from ngldm.scoring.further.images import ClassHead, RealImages, class_accuracy, image_score_names, image_scores
from ngldm.scoring.further.points import SHARES, point_score_names, point_scores, tail_radii


def available_scores(path: Path, points: bool) -> list[str]:
    """The names of all further scores that can be taken against a file further.npz.

    Raises:
        InputError: the file lacks what is needed.
    """
    if points:
        real = load_arrays(path, ("test", "centres"), MADE_BY)
        return point_score_names(real["test"].shape[1], len(real["centres"]))
    real = load_arrays(path, ("test_labels", "class_bias"), MADE_BY)
    return image_score_names(real["test_labels"], len(real["class_bias"]) > 0)


def choose_scores(wanted: Sequence[str], available: Sequence[str], key: str) -> tuple[str, ...]:
    """The available scores that are wanted, in their own order.

    Args:
        wanted: names; a * at the end stands for the rest of names.
        key: of the names in the settings, for the message.

    Raises:
        InputError: a name fits no available score.
    """
    chosen: set[str] = set()
    for name in wanted:
        start = name.removesuffix("*")
        fits = {score for score in available if score == name or (start != name and score.startswith(start))}
        if not fits:
            raise InputError(f"{key}: {name!r} is none of the scores of these data: {', '.join(available)}")
        chosen |= fits
    return tuple(score for score in available if score in chosen)


def further_scores(
    path: Path, items: Items, features: Tensor, train_features: Tensor, k: int, wanted: Collection[str] | None = None
) -> dict[str, float]:
    """`image_scores` of generated images, or `point_scores` of generated points.

    Args:
        path: of further.npz.
        items: (M, H, W, C) or (M, d).
        features: (M, D) theirs.
        train_features: (N, D) of training items.
        k: neighbours of the recall.
        wanted: names of the scores; None takes all.

    Raises:
        InputError: the file lacks what is needed.
    """
    if are_points(items):
        real = load_arrays(path, ("test", "centres"), MADE_BY)
        return point_scores(as_points(items), real["test"], real["centres"], wanted)
    real = load_arrays(path, ("test_features", "test_labels", "spectrum", "class_weight", "class_bias"), MADE_BY)
    _require_fits(path, real, train_features.shape[1])
    test, labels = (torch.from_numpy(real[key]) for key in ("test_features", "test_labels"))
    compared = RealImages(train_features, test, labels, real["spectrum"], _head(path, real, train_features.shape[1]))
    return image_scores(as_images(items), features, compared, k, wanted)


def _require_fits(path: Path, real: Mapping[str, NDArray[np.float64]], dim: int) -> None:
    """Check what is kept of test images: features of `dim` numbers, as many labels, a spectrum.

    Raises:
        InputError: the shapes do not fit, as in a file of another reference.
    """
    features, labels, spectrum = (real[key] for key in ("test_features", "test_labels", "spectrum"))
    if features.ndim != 2 or len(features) < 2 or features.shape[1] != dim or labels.shape != (len(features),):
        raise InputError(
            f"{path}: test_features {features.shape} and test_labels {labels.shape}, must be (T, {dim}) and (T,) with "
            f"T of at least 2; it comes from {MADE_BY}"
        )
    if spectrum.ndim != 1 or not len(spectrum):
        raise InputError(f"{path}: spectrum {spectrum.shape}, must be (R,) with R above 0; it comes from {MADE_BY}")


def _head(path: Path, real: Mapping[str, NDArray[np.float64]], dim: int) -> ClassHead | None:
    """What finds classes in features of `dim` numbers; None if the extractor knows no classes.

    Raises:
        InputError: weights and biases do not fit.
    """
    weight, bias = real["class_weight"], real["class_bias"]
    if bias.ndim != 1 or weight.shape != (len(bias), dim):
        wanted = f"(K, {dim}) and (K,)"
        raise InputError(f"{path}: class_weight {weight.shape} and class_bias {bias.shape}, must be {wanted}")
    return ClassHead(torch.from_numpy(weight), torch.from_numpy(bias)) if len(bias) else None


def class_scores(path: Path, items: Items, features: Tensor, asked: NDArray[np.int64] | None) -> dict[str, float]:
    """`class_accuracy` by the classifier that gave the features; nothing if the extractor knows no classes.

    Args:
        path: of further.npz.
        items: (M, H, W, C) or (M, d); points have no classifier.
        features: (N, D) of the first N items.
        asked: (M,) classes; None gives nothing.

    Raises:
        InputError: the file lacks what is needed, or has no class of a number that was asked for.
    """
    if asked is None or are_points(items):
        return {}
    real = load_arrays(path, ("class_weight", "class_bias"), MADE_BY)
    if (head := _head(path, real, features.shape[1])) is None:
        return {}
    if (largest := int(asked.max())) >= (count := len(real["class_bias"])):
        raise InputError(f"classes: {largest} was asked for, but {path} has {count} classes, counted from 0")
    return class_accuracy(head.classes(features), torch.tensor(asked[: len(features)]))


def beside_points(path: Path, sets: Mapping[str, Items]) -> dict[str, object]:
    """What the scores of sets of points, by label, are shown beside. Nothing for images.

    Returns:
        `further_floor`: the scores of the training points, which a good model can be expected to reach. `tails`: the
        radii beyond which `SHARES` of the points lie, of the real points (`real`), the training points (`training`)
        and the sets.

    Raises:
        InputError: the file lacks what is needed.
    """
    if not all(are_points(items) for items in sets.values()):
        return {}
    real = load_arrays(path, ("train", "test", "centres"), MADE_BY)
    whole: dict[str, NDArray[np.floating]] = {"real": real["test"], "training": real["train"]}
    whole |= {label: as_points(items) for label, items in sets.items()}
    radii = {label: tail_radii(points, real["test"], real["centres"]) for label, points in whole.items()}
    floor = point_scores(real["train"], real["test"], real["centres"])
    return {"further_floor": floor, "tails": {"shares": list(SHARES), **radii}}
