"""Features of a classifier trained on the data set's own labels, or on rotations where there are none."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.io.files import entry, sha256_file
from ngldm.io.images import UInt8Array
from ngldm.io.items import Items
from ngldm.io.tensors import load_tensors, require_finite, save_tensors, to_float, to_tensor
from ngldm.io.threads import following_free_cores
from ngldm.scoring.distance.frechet import Moments


class Classifier(nn.Module):
    """A small convolutional classifier of the data set's own labels. Its last hidden layer gives the features.

    Args:
        image_shape: (C, H, W) with H and W at least 4.
        num_classes: K, the number of labels.
        width: channels of the first layer.
        dim: length of the feature vector.

    Raises:
        InputError: the images are too small.
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
            self.body(torch.zeros(1, *image_shape))  # the lazy layer takes its shape from this input
        self.settings = {"image_shape": image_shape, "num_classes": num_classes, "width": width, "dim": dim}

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [-1, 1]."""
        logits: Tensor = self.head(self.body(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Features (B, dim) of images (B, C, H, W) in [-1, 1], standardised by the training images."""
        features: Tensor = (self.body(x) - self.feature_mean) / self.feature_std
        return features

    @torch.no_grad()
    def class_head(self) -> tuple[Tensor, Tensor]:
        """Weights (K, dim) and biases (K,) that turn standardised `features` into logits."""
        weight = self.head.weight * self.feature_std
        return weight, self.head.bias + self.head.weight @ self.feature_mean

    @torch.no_grad()
    def standardise(self, images: UInt8Array, batch_size: int = 512) -> None:
        """Scale the features so that on `images` (N, H, W, C) they have mean 0 and variance 1.

        Without this, the scale of the features would depend on how long the classifier was trained, and so would the
        distance. Several processes share the images.
        """

        def make(part: int) -> Tensor:
            with following_free_cores():
                hidden: Tensor = self.body(to_float(images[part * batch_size : (part + 1) * batch_size]))
            return hidden

        moments = Moments(len(self.feature_mean))
        for hidden in processes.spread(-(-len(images) // batch_size), make):
            moments.update(hidden)
        mean, std = processes.from_main(lambda: (moments.mean, moments.cov.diagonal().sqrt().clamp(min=1e-6)))
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std)


def classifier_loss(
    model: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator, part: slice | None = None
) -> Tensor:
    """Cross-entropy (B,) of a batch of images and labels. It is a `loss` of `ngldm.training.task.Task`."""
    images, labels = (tensor[part or slice(None)] for tensor in batch)
    return F.cross_entropy(model(images), labels, reduction="none")


@torch.no_grad()
def accuracy(model: nn.Module, images: UInt8Array, labels: NDArray[np.int64], batch_size: int = 512) -> float:
    """Fraction of uint8 images (N, H, W, C) whose label the classifier finds."""
    correct = 0
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        with following_free_cores():
            predicted = model(to_float(images[part])).argmax(1)
        correct += int((predicted == torch.from_numpy(np.array(labels[part]))).sum())
    return correct / len(images)


def save_classifier(model: Classifier, path: Path, name: str = "classifier") -> None:
    """Write the classifier. The file appears complete or not at all.

    Args:
        name: the extractor that it makes: "classifier" if it learned labels, or "rotation".
    """
    named = {} if name == "classifier" else {"extractor": name}
    save_tensors(dict(model.state_dict()), {"classifier": model.settings, **named}, path)


class ClassifierExtractor:
    """The features of a classifier in a file of `save_classifier`.

    Raises:
        InputError: the file is missing or holds no classifier.
    """

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
    def __call__(self, images: Items) -> Tensor:
        return self.model.features(to_tensor(images).to(self.device)).float().cpu()
