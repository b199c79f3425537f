"""Feature extractor and statistics of the real images: measured once, opened together to score generated images."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ngldm.data.dataset import Dataset
from ngldm.data.reference import CLASSIFIER, Reference, load_reference, save_reference
from ngldm.io.files import entry
from ngldm.io.images import UInt8Array
from ngldm.scoring.features.extractor import Extractor, extract, make_extractor
from ngldm.scoring.frechet import Moments, frechet_distance
from ngldm.scoring.protocol import by_protocol, compared, shortfall


@dataclass(frozen=True)
class Scorer:
    """Scores sets of generated images, each of the same number of images.

    Attributes:
        extractor: gives the features.
        reference: the real images' features and statistics, by the protocol.
        count: how many images of each generated set count: the first ones.
        notes: what must be said of scores of so few images, if anything.
        num_real: training images, whether the protocol takes all of them or not.
        device: where the extractor computes.
    """

    extractor: Extractor
    reference: Reference
    count: int
    notes: tuple[str, ...]
    num_real: int
    device: torch.device

    @property
    def metric(self) -> str:
        """The distance's name in tables."""
        return str(self.reference.about["metric"])

    def features(
        self, images: UInt8Array, batch_size: int, progress: Callable[[int], None] = lambda count: None
    ) -> Iterator[Tensor]:
        """Features (B, D) of uint8 images (N, H, W, C), batch by batch. `progress` is told the images of each batch."""
        return extract(self.extractor, images, batch_size, progress)

    def distance(self, batches: Iterable[Tensor]) -> float:
        """Frechet distance of the images with these features, batches of (B, D), to the real ones."""
        moments = Moments(self.extractor.dim)
        for features in batches:
            moments.update(features)
        return frechet_distance(self.reference.mu, self.reference.sigma, moments.mean, moments.cov)


def open_scorer(
    folder: Path,
    num_images: int,
    *,
    protocol: str = "standard",
    extractor: str | None = None,
    inception_weights: str | None = None,
    device: torch.device | str = "cpu",
) -> Scorer:
    """A scorer that compares with what the stage `reference` wrote.

    Args:
        folder: the reference's.
        num_images: of each generated set.
        protocol: "standard" or "paper" (`ngldm.scoring.protocol`).
        extractor: the name that the reference's extractor must have; None or "auto" takes whichever it has.
        inception_weights: path of the Inception weights; None for torch's cache.

    Raises:
        InputError: the reference is missing, damaged, or made with another extractor; or the weights are missing.
    """
    whole = load_reference(folder)
    network = make_extractor(
        entry(whole.about, "extractor", str) if extractor in (None, "auto") else str(extractor),
        classifier=folder / CLASSIFIER,
        inception=inception_weights,
        device=device,
    )
    whole.require_extractor(network.weights_sha256)
    reference, num_real = by_protocol(whole, protocol, num_images), entry(whole.about, "num_images", int)
    return Scorer(
        extractor=network,
        reference=reference,
        count=compared(protocol, num_images, len(reference.features)),
        notes=tuple(shortfall(protocol, network.dim, num_images, num_real)),
        num_real=num_real,
        device=torch.device(device),
    )


def measure_real(
    extractor: Extractor,
    data: Dataset,
    folder: Path,
    batch_size: int,
    progress: Callable[[int], None] = lambda count: None,
) -> float:
    """Write the training images' features and statistics into `folder`, which must exist.

    Args:
        batch_size: images per call of the extractor.
        progress: told the images of each batch, of both splits.

    Returns:
        The floor: the test images' Frechet distance to the training images, which a perfect generator could be expected
        to reach.
    """
    moments = {}
    for split, images in (("train", data.train), ("test", data.test)):
        features = list(extract(extractor, images, batch_size, progress))
        moments[split] = Moments(extractor.dim)
        for batch in features:
            moments[split].update(batch)
        if split == "train":
            save_reference(folder, moments[split].mean, moments[split].cov, torch.cat(features))
    train, test = moments["train"], moments["test"]
    return frechet_distance(train.mean, train.cov, test.mean, test.cov)
