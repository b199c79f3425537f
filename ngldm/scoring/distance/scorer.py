"""The scorer: a feature extractor together with the statistics of the real images, which are measured once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ngldm.data.dataset import Dataset
from ngldm.data.reference import CLASSIFIER, KeptRows, Reference, kept_rows, load_reference, save_reference
from ngldm.io import processes
from ngldm.io.files import entry
from ngldm.io.items import Items
from ngldm.scoring.distance.frechet import Moments, frechet_distance
from ngldm.scoring.distance.protocol import by_protocol, compared, shortfall
from ngldm.scoring.features.extractor import Extractor, extract, extract_spread, make_extractor


@dataclass(frozen=True)
class Scorer:
    """Scores sets of generated images. All sets have the same number of images.

    Attributes:
        extractor: gives the features.
        reference: features and statistics of the real images that the protocol compares with.
        count: how many images of each generated set are scored: always the first ones.
        notes: messages for the user if there are too few images for a reliable score.
        num_train: number of training images. The reference may have seen only a sample of them.
        device: where the extractor computes.
    """

    extractor: Extractor
    reference: Reference
    count: int
    notes: tuple[str, ...]
    num_train: int
    device: torch.device

    @property
    def metric(self) -> str:
        """Name of the Frechet distance in tables."""
        return str(self.reference.about["metric"])

    @property
    def computes_on(self) -> torch.device:
        """Where scores are computed from features: on a CUDA device with it, else on the CPU (MPS has no float64)."""
        return self.device if self.device.type == "cuda" else torch.device("cpu")

    def features(
        self, images: Items, batch_size: int, progress: Callable[[int], None] = lambda count: None
    ) -> Iterator[Tensor]:
        """Features (B, D) of images (N, H, W, C) or points (N, d), in batches. `progress` gets the number of each."""
        return extract(self.extractor, images, batch_size, progress)

    def distance(self, batches: Iterable[Tensor]) -> float:
        """Frechet distance to the real images, of the images whose features come in batches (B, D)."""
        moments = Moments(self.extractor.dim, self.computes_on)
        for features in batches:
            moments.update(features)
        return frechet_distance(self.reference.mu, self.reference.sigma, moments.mean, moments.cov)


def open_scorer(
    folder: Path,
    num_images: int,
    *,
    protocol: str = "standard",
    extractor: str | None = None,
    weights: str | None = None,
    device: torch.device | str = "cpu",
) -> Scorer:
    """A scorer that compares with the files of the stage `reference`.

    Args:
        folder: the folder that the stage `reference` wrote.
        num_images: number of images of each generated set.
        protocol: "standard" or "paper" (`ngldm.scoring.distance.protocol`).
        extractor: name of the extractor that the reference must have been made with; None or "auto" accepts any.
        weights: of the extractor (`make_extractor`); None takes the cache's.
        device: where the extractor computes.

    Raises:
        InputError: the reference is missing, damaged, or made with another extractor; or the weights are missing.
    """
    whole = load_reference(folder)
    network = make_extractor(
        entry(whole.about, "extractor", str) if extractor in (None, "auto") else str(extractor),
        classifier=folder / CLASSIFIER,
        weights=weights,
        resizing=str(whole.about.get("resizing", "standard")),  # older versions had no other
        device=device,
    )
    whole.require_extractor(network.weights_sha256)
    reference, num_real = by_protocol(whole, protocol, num_images), entry(whole.about, "num_images", int)
    return Scorer(
        extractor=network,
        reference=reference,
        count=compared(protocol, num_images, len(reference.features)),
        notes=tuple(shortfall(protocol, network.dim, num_images, num_real)),
        num_train=entry({"train_images": num_real, **whole.about}, "train_images", int),
        device=torch.device(device),
    )


def measure_real(
    extractor: Extractor,
    data: Dataset,
    folder: Path,
    batch_size: int,
    kept_tests: Tensor,
    progress: Callable[[int], None] = lambda count: None,
) -> tuple[float, Tensor] | None:
    """Write features and statistics of the training images into `folder`, which must exist.

    The features pass in batches: their mean and covariance are updated, and only those that are kept stay in memory.
    Several processes share the images. Only the main one writes.

    Args:
        extractor: gives the features.
        data: training and test images.
        batch_size: images per call of the extractor.
        kept_tests: (K,) numbers of the test images whose features are returned.
        progress: called with the number of images of each batch, of both splits.

    Returns:
        The floor: the Frechet distance between test and training images. A perfect generator can be expected to reach
        it with as many images. And the features (K, D) of the chosen test images. None but for the main process.
    """
    moments, kept = {}, {}
    for split, images, rows in (("train", data.train, kept_rows(len(data.train))), ("test", data.test, kept_tests)):
        moments[split], kept[split] = Moments(extractor.dim), KeptRows(rows, extractor.dim)
        for batch in extract_spread(extractor, images, batch_size, progress):
            moments[split].update(batch)
            kept[split].update(batch)
    if not processes.is_main():
        return None
    train, test = moments["train"], moments["test"]
    save_reference(folder, train.mean, train.cov, kept["train"].features)
    return frechet_distance(train.mean, train.cov, test.mean, test.cov), kept["test"].features
