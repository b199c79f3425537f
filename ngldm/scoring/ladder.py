"""Can a score tell good images from bad ones? Real images, and the same ones blurred and noised, lightly and strongly.

A distance that is worth its name grows from step to step: floor < light damage < strong damage.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ngldm.io.images import UInt8Array
from ngldm.scoring.features.extractor import Extractor, extract
from ngldm.scoring.frechet import Moments, frechet_distance

MAX_IMAGES = 500  # of the ladder: it must stay cheap beside the features of all images
BLUR = {"light": 0.04, "strong": 0.12}  # deviation of the Gaussian kernel, in sides of the image
MIN_BLUR = 0.5  # pixels: below that a kernel is one pixel wide
NOISE = {"light": 0.08, "strong": 0.25}  # deviation of the added Gaussian noise, in the range of pixel values


@dataclass(frozen=True)
class Ladder:
    """Distances to the real training images.

    Attributes:
        images: how many test images were scored at each step.
        floor: of them as they are.
        blur_light, blur_strong, noise_light, noise_strong: of the same ones damaged.
    """

    images: int
    floor: float
    blur_light: float
    blur_strong: float
    noise_light: float
    noise_strong: float

    @property
    def faults(self) -> list[str]:
        """The steps that do not rise, in words."""
        found = []
        for kind in ("blur", "noise"):
            light, strong = getattr(self, f"{kind}_light"), getattr(self, f"{kind}_strong")
            if not self.floor < light:
                found.append(f"light {kind} scores {light:.4g}, no worse than the images themselves, {self.floor:.4g}")
            if not light < strong:
                found.append(f"strong {kind} scores {strong:.4g}, no worse than light {kind}, {light:.4g}")
        return found

    def as_json(self) -> dict[str, object]:
        """The figures, and the faults."""
        return {**asdict(self), "faults": self.faults}


def blurred(images: UInt8Array, strength: str) -> UInt8Array:
    """Images (N, H, W, C) under a Gaussian kernel of `BLUR[strength]`."""
    sigma = max(MIN_BLUR, BLUR[strength] * min(images.shape[1:3]))
    found = gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="nearest")
    return found.round().clip(0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def noised(images: UInt8Array, strength: str) -> UInt8Array:
    """Images (N, H, W, C) with Gaussian noise of `NOISE[strength]`, always the same."""
    noise = np.random.default_rng(0).normal(0.0, 255 * NOISE[strength], images.shape)
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def climb(
    extractor: Extractor,
    images: UInt8Array,
    real: tuple[Tensor, Tensor],
    batch_size: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Ladder:
    """The ladder of an extractor.

    Args:
        images: real test images (N, H, W, C), of which a random subset of at most `MAX_IMAGES` is taken.
        real: mean and covariance of the training images' features.
        batch_size: images per call of the extractor.
        progress: told the images of each batch; `5 * min(N, MAX_IMAGES)` in all.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:MAX_IMAGES]
    chosen = np.array(images[order.sort().values.numpy()])

    def distance(found: UInt8Array) -> float:
        moments = Moments(extractor.dim)
        for features in extract(extractor, found, batch_size, progress):
            moments.update(features)
        return frechet_distance(*real, moments.mean, moments.cov)

    damages = [damage(chosen, strength) for damage in (blurred, noised) for strength in ("light", "strong")]
    return Ladder(len(chosen), distance(chosen), *(distance(found) for found in damages))
