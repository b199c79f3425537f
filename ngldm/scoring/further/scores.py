"""The further scores of generated items, by their kind, against what the stage `reference` kept."""

from pathlib import Path

import torch
from torch import Tensor

from ngldm.data.reference import read_further
from ngldm.io.items import Items, are_points, as_images, as_points
from ngldm.scoring.further.images import RealImages, image_scores
from ngldm.scoring.further.points import point_scores


def further_scores(
    folder: Path, items: Items, features: Tensor, train_features: Tensor, neighbours: int
) -> dict[str, float]:
    """`image_scores` of generated images, or `point_scores` of generated points.

    Args:
        folder: that the stage `reference` wrote.
        items: (M, H, W, C) or (M, d).
        features: (M, D) theirs.
        train_features: (N, D) of training items.
        neighbours: k of the recall.

    Raises:
        InputError: the reference lacks what is needed.
    """
    if are_points(items):
        real = read_further(folder, "test", "centres")
        return point_scores(as_points(items), real["test"], real["centres"])
    real = read_further(folder, "test_features", "test_labels", "spectrum")
    test, labels = torch.from_numpy(real["test_features"]), torch.from_numpy(real["test_labels"])
    known = RealImages(train_features, test, labels, real["spectrum"])
    return image_scores(as_images(items), features, known, neighbours)


def points_floor(folder: Path) -> dict[str, float]:
    """`point_scores` of the training points, which a good model can be expected to reach.

    Raises:
        InputError: the reference lacks what is needed.
    """
    real = read_further(folder, "train", "test", "centres")
    return point_scores(real["train"], real["test"], real["centres"])
