"""Features of a classifier trained on the data set's own labels, or on rotations where there are none."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import InputError
from ngldm.io.files import entry, sha256_file
from ngldm.io.images import UInt8Array
from ngldm.io.tensors import load_tensors, require_finite, save_tensors, to_float


class Classifier(nn.Module):
    """A small convolutional classifier of the data set's own labels; its last hidden layer gives the features.

    Args:
        image_shape: (C, H, W); each of the two poolings halves the sides, so they must be at least 4.
        num_classes: K.
        width: channels of the first layer.
        dim: length of the feature vector.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, width: int = 32, dim: int = 64) -> None:
        super().__init__()
        channels, height, side = image_shape
        if min(height, side) < 4:
            raise InputError(f"the classifier needs images of at least 4x4 pixels, these are {height}x{side}")
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(4) if min(height, side) > 8 else nn.Identity(),
            nn.Flatten(),
            nn.LazyLinear(dim),
            nn.SiLU(),
        )
        self.head = nn.Linear(dim, num_classes)
        self.register_buffer("feature_mean", torch.zeros(dim))
        self.register_buffer("feature_std", torch.ones(dim))
        with torch.no_grad():
            self.body(torch.zeros(1, *image_shape))  # gives the lazy layer its shape
        self.settings = {"image_shape": image_shape, "num_classes": num_classes, "width": width, "dim": dim}

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to logits (B, K)."""
        logits: Tensor = self.head(self.body(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to features (B, dim), standardised on the training images."""
        features: Tensor = (self.body(x) - self.feature_mean) / self.feature_std
        return features

    @torch.no_grad()
    def standardise(self, images: UInt8Array, batch_size: int = 512) -> None:
        """Set the features' scale to mean 0, variance 1 on `images`.

        Without it the scale, and so the distance, would depend on how long the classifier was trained.
        """
        chunks = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
        hidden = torch.cat([self.body(to_float(chunk)) for chunk in chunks]).double()
        self.feature_mean.copy_(hidden.mean(0))
        self.feature_std.copy_(hidden.std(0).clamp(min=1e-6))


def classifier_loss(model: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
    """Cross-entropy of a batch of (images, labels); (B,)."""
    images, labels = batch
    return F.cross_entropy(model(images), labels, reduction="none")


@torch.no_grad()
def accuracy(model: nn.Module, images: UInt8Array, labels: NDArray[np.int64], batch_size: int = 512) -> float:
    """Share of images that the classifier puts into their class."""
    correct = 0
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        predicted = model(to_float(images[part])).argmax(1)
        correct += int((predicted == torch.from_numpy(np.array(labels[part]))).sum())
    return correct / len(images)


def save_classifier(model: Classifier, path: Path, name: str = "classifier") -> None:
    """Write the classifier, whole or not at all.

    Args:
        name: of the extractor that it makes: "classifier" of labels, or "rotation".
    """
    named = {} if name == "classifier" else {"extractor": name}
    save_tensors(dict(model.state_dict()), {"classifier": model.settings, **named}, path)


class ClassifierExtractor:
    """Features of a classifier that `save_classifier` wrote."""

    def __init__(self, path: Path, device: torch.device | str = "cpu") -> None:
        tensors, state = load_tensors(path, made_by="the stage `reference`")
        try:
            settings = dict(entry(state, "classifier", dict))
            self.model = Classifier(tuple(settings.pop("image_shape")), **settings)
            self.model.load_state_dict(tensors)
            self.dim = settings["dim"]
            self.name = entry(state, "extractor", str) if "extractor" in state else "classifier"
        except (InputError, KeyError, TypeError, RuntimeError) as error:
            raise InputError(f"{path}: holds no classifier of this version ({error})") from error
        require_finite(tensors, path)
        self.model.eval().to(device)
        self.device = device
        self.metric = f"fd_{self.name}"
        self.weights_sha256 = sha256_file(path)

    @torch.inference_mode()
    def __call__(self, images: UInt8Array) -> Tensor:
        return self.model.features(to_float(images).to(self.device)).float().cpu()
