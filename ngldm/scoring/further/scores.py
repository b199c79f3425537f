"""The further scores of generated items, by their kind, against the file further.npz of the stage `reference`.

For images it holds `test_features`, `test_labels` and the `spectrum` of the training images; for points `train` and
`test`, and the `centres` of the modes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.data.reference import MADE_BY
from ngldm.io.images import load_arrays
from ngldm.io.items import Items, are_points, as_images, as_points
from ngldm.scoring.further.images import RealImages, image_scores
from ngldm.scoring.further.points import SHARES, point_scores, tail_radii


def further_scores(path: Path, items: Items, features: Tensor, train_features: Tensor, k: int) -> dict[str, float]:
    """`image_scores` of generated images, or `point_scores` of generated points.

    Args:
        path: of further.npz.
        items: (M, H, W, C) or (M, d).
        features: (M, D) theirs.
        train_features: (N, D) of training items.
        k: neighbours of the recall.

    Raises:
        InputError: the file lacks what is needed.
    """
    if are_points(items):
        real = load_arrays(path, ("test", "centres"), MADE_BY)
        return point_scores(as_points(items), real["test"], real["centres"])
    real = load_arrays(path, ("test_features", "test_labels", "spectrum"), MADE_BY)
    test, labels = torch.from_numpy(real["test_features"]), torch.from_numpy(real["test_labels"])
    return image_scores(as_images(items), features, RealImages(train_features, test, labels, real["spectrum"]), k)


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
