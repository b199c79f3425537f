"""The sanity ladder: does the Frechet distance of an extractor grow if images get worse?

Real test images are scored as they are, and also blurred and noised, each lightly and strongly. The distances must
grow: floor < light damage < strong damage. If they do not, the extractor's scores say nothing about quality.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ngldm.io.images import UInt8Array
from ngldm.scoring.distance.frechet import Moments, frechet_distance
from ngldm.scoring.features.extractor import Extractor, extract

MAX_IMAGES = 500  # more would take longer than the features of all images
BLUR = {"light": 0.04, "strong": 0.12}  # deviation of the Gaussian kernel, in sides of the image
MIN_BLUR = 0.5  # pixels; a narrower kernel changes almost nothing
NOISE = {"light": 0.08, "strong": 0.25}  # deviation of the added Gaussian noise, in the range of pixel values


@dataclass(frozen=True)
class Ladder:
    """Distances to the real training images.

    Attributes:
        images: number of test images at each step.
        floor: distance of these images without damage.
        blur_light, blur_strong, noise_light, noise_strong: distances of the same images with that damage.
    """

    images: int
    floor: float
    blur_light: float
    blur_strong: float
    noise_light: float
    noise_strong: float

    @property
    def faults(self) -> list[str]:
        """A sentence for each step at which the distance does not grow."""
        found = []
        for kind in ("blur", "noise"):
            light, strong = getattr(self, f"{kind}_light"), getattr(self, f"{kind}_strong")
            if not self.floor < light:
                found.append(f"light {kind} has {light:.4g}, not more than the undamaged images with {self.floor:.4g}")
            if not light < strong:
                found.append(f"strong {kind} has {strong:.4g}, not more than light {kind} with {light:.4g}")
        return found

    def as_json(self) -> dict[str, object]:
        """The figures, and the faults."""
        return {**asdict(self), "faults": self.faults}


def blurred(images: UInt8Array, strength: str) -> UInt8Array:
    """Images (N, H, W, C), blurred by a Gaussian kernel of `BLUR[strength]` ("light" or "strong")."""
    sigma = max(MIN_BLUR, BLUR[strength] * min(images.shape[1:3]))
    found = gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="nearest")
    return found.round().clip(0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def noised(images: UInt8Array, strength: str, first: int = 0) -> UInt8Array:
    """Images (N, H, W, C) plus Gaussian noise of `NOISE[strength]`. Each image always gets the same noise.

    Args:
        first: number of the first image in its set.
    """
    shape, numbers = images.shape[1:], range(first, first + len(images))
    noise = np.stack([np.random.default_rng(number).normal(0.0, 255 * NOISE[strength], shape) for number in numbers])
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def climb(
    extractor: Extractor,
    images: UInt8Array,
    real: tuple[Tensor, Tensor],
    batch_size: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Ladder:
    """Measure the ladder of an extractor. The images are damaged batch by batch, to save memory.

    Args:
        images: real test images (N, H, W, C). A random subset of at most `MAX_IMAGES` is used.
        real: mean and covariance of the training images' features.
        batch_size: images per call of the extractor.
        progress: called with the number of images of each batch; the sum is `5 * min(N, MAX_IMAGES)`.

    Raises:
        InputError: fewer than two images, or features that are not finite.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:MAX_IMAGES]
    chosen = np.array(images[order.sort().values.numpy()])

    def distance(damage: Callable[[UInt8Array, int], UInt8Array]) -> float:
        moments = Moments(extractor.dim)
        for start in range(0, len(chosen), batch_size):
            damaged = damage(chosen[start : start + batch_size], start)
            for features in extract(extractor, damaged, batch_size, progress):
                moments.update(features)
        return frechet_distance(*real, moments.mean, moments.cov)

    return Ladder(
        images=len(chosen),
        floor=distance(lambda batch, first: batch),
        blur_light=distance(lambda batch, first: blurred(batch, "light")),
        blur_strong=distance(lambda batch, first: blurred(batch, "strong")),
        noise_light=distance(lambda batch, first: noised(batch, "light", first)),
        noise_strong=distance(lambda batch, first: noised(batch, "strong", first)),
    )
