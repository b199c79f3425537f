"""The training images that generated images are most like: by eye one sees whether a model copies."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ngldm.data.reference import Reference, kept_rows
from ngldm.io.files import entry, read_json
from ngldm.scoring.further.precision_recall import distances

SHOWN = 10  # generated images whose neighbours are looked for: the first ones
NEAREST = 3  # neighbours of each
CHUNK = 1024  # training images whose distances are in memory at the same time


@dataclass(frozen=True)
class Neighbours:
    """The training images nearest to the first generated images.

    Attributes:
        rows: for each generated image the numbers of training images in the data set, the nearest first.
        distances: theirs, Euclidean, between features.
        among: how many training images were looked at.
    """

    rows: list[list[int]]
    distances: list[list[float]]
    among: int


def nearest(generated: Tensor, train: Tensor, num_train: int) -> Neighbours:
    """The `NEAREST` training images of each of the first `SHOWN` generated images.

    Args:
        generated: (M, D) features.
        train: (N, D) features of the training images that the reference keeps (`kept_rows`), so of a large data set a
            random part.
        num_train: training images that there are.
    """
    few, rows = generated[:SHOWN], kept_rows(num_train)
    found = torch.cat([distances(few, part) for part in train.split(CHUNK)], dim=1)
    closest = found.topk(min(NEAREST, len(train)), dim=1, largest=False)
    return Neighbours(rows[closest.indices].tolist(), closest.values.tolist(), len(train))


def nearest_images(folder: Path, features: Mapping[str, Tensor], reference: Reference) -> dict[str, object]:
    """`nearest` of each set of generated images, as `nearest`, to be written into a JSON file. Nothing for points.

    Args:
        folder: of the stage `reference`, whose file says how many training images there are.
        features: (M, D) of each set, by its label.
        reference: what the sets are scored with; the protocol may have left out training images at its end.

    Raises:
        InputError: reference.json is missing or damaged.
    """
    about = read_json(folder / "reference.json", "num_images", "extractor")
    if about["extractor"] == "points":
        return {}
    count = entry(about, "num_images", int)
    return {"nearest": {label: asdict(nearest(found, reference.features, count)) for label, found in features.items()}}
