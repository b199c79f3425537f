"""Features of points: the points themselves, on a scale on which heavy tails do not drown the bulk."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.io.items import Items, Points
from ngldm.io.tensors import load_tensors, require_finite, save_tensors

SCALE = "scale.safetensors"  # beside the other files of the reference
QUARTILES = (0.25, 0.5, 0.75)
NORMAL = 1.349  # quartile range of a standard normal


def save_scale(train: Points, path: Path) -> None:
    """Write median and scale of each column of the training points (N, d): the quartile range, 1 for a normal's."""
    low, median, high = np.quantile(train, QUARTILES, axis=0)
    spread = np.where(high > low, (high - low) / NORMAL, train.std(0, dtype=np.float64))
    tensors = {"median": torch.from_numpy(median).float(), "scale": torch.from_numpy(spread).float()}
    save_tensors(tensors, {"extractor": "points"}, path)


class PointsExtractor:
    """asinh((x - median) / scale) per column: about linear in the bulk, logarithmic in the tails.

    So means and covariances of the features exist for any data, also where the data's own variance is infinite. Column
    by column the map is strictly increasing: two laws with the same features are the same.

    Raises:
        InputError: the file is missing or damaged.
    """

    name = "points"
    metric = "fd_points"

    def __init__(self, path: Path) -> None:
        tensors, _ = load_tensors(path, made_by="the stage `reference`")
        require_finite(tensors, path)
        try:
            self.median, self.scale = tensors["median"], tensors["scale"]
        except KeyError as error:
            raise InputError(f"{path}: holds no scale of points ({error} is missing)") from error
        self.dim = len(self.median)
        self.weights_sha256 = sha256_file(path)

    def __call__(self, images: Items) -> Tensor:
        """Features, float32 (B, d) on the CPU, of points (B, d)."""
        points = torch.from_numpy(np.asarray(images, np.float64))
        return ((points - self.median) / self.scale).asinh().float()
