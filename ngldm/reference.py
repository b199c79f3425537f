"""What generated images are compared with: the real images' features and their statistics.

On disk: statistics.npz (`mu`, `sigma`: pytorch-fid's interchange format), features.npy (for KID) and reference.json.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ngldm.errors import InputError
from ngldm.files import read_json, require
from ngldm.frechet import Moments

MAX_FEATURES = 10_000  # kept for KID, which draws subsets; the statistics are of all


@dataclass(frozen=True)
class Reference:
    """Statistics of the real images.

    Attributes:
        mu: (D,) float64.
        sigma: (D, D) float64.
        features: (N, D) float32, at most `MAX_FEATURES` of them.
        about: extractor, metric, weights_sha256, num_images, floor.
    """

    mu: Tensor
    sigma: Tensor
    features: Tensor
    about: Mapping[str, Any]

    def require_extractor(self, weights_sha256: str) -> None:
        """Refuse to compare features of different networks.

        Raises:
            InputError: the reference was made with other weights.
        """
        if self.about["weights_sha256"] != weights_sha256:
            raise InputError(
                f"the reference features are of weights {self.about['weights_sha256'][:12]}, the extractor has "
                f"{weights_sha256[:12]}; run the stage `reference` again"
            )


def save_reference(folder: Path, moments: Moments, features: Tensor) -> None:
    """Write statistics and features into `folder`, which must exist."""
    np.savez(folder / "statistics.npz", mu=moments.mean.cpu().numpy(), sigma=moments.cov.cpu().numpy())
    np.save(folder / "features.npy", features[:MAX_FEATURES].numpy())


def load_reference(path: Path) -> Reference:
    """What the stage `reference` wrote.

    Raises:
        InputError: the folder or one of its files is missing or damaged.
    """
    about = read_json(require(path, "the stage `reference`") / "reference.json", "weights_sha256")
    statistics, features = require(path / "statistics.npz"), require(path / "features.npy")
    try:
        with np.load(statistics, allow_pickle=False) as file:
            mu, sigma = torch.from_numpy(file["mu"]), torch.from_numpy(file["sigma"])
        return Reference(mu, sigma, torch.from_numpy(np.load(features, allow_pickle=False)), about)
    except (ValueError, EOFError, OSError, KeyError, BadZipFile) as error:
        raise InputError(f"{path}: damaged ({error}); run the stage `reference` again") from error
