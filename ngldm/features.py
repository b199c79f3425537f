"""Feature extractors: uint8 images to vectors, between which `ngldm.frechet` measures.

`inception` is the network of FID (through pytorch-fid); its distance is called `fid`, and nothing else's is.
`classifier` is a small network trained on the data set's own labels, for small or grey images on which Inception
features mean little; its distance is called `fd_classifier`.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.checkpoint import load_tensors, save_tensors
from ngldm.errors import InputError, unknown
from ngldm.files import sha256_file
from ngldm.images import UInt8Array, to_float

EXTRACTORS = ("classifier", "inception")
# The SHA-256 of the weights that pytorch-fid downloads begins with the end of their file name.
FID_WEIGHTS_PREFIX = "6726825d"
FID_WEIGHTS_URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
FID_WEIGHTS_NAME = f"pt_inception-2015-12-05-{FID_WEIGHTS_PREFIX}.pth"


class Extractor(Protocol):
    """What scoring needs of an extractor.

    Attributes:
        name: "classifier" or "inception".
        metric: the name of its Frechet distance in tables.
        dim: length of a feature vector.
        weights_sha256: which weights these are.
    """

    name: str
    metric: str
    dim: int
    weights_sha256: str

    def __call__(self, images: UInt8Array) -> Tensor:
        """uint8 (B, H, W, C) to float32 (B, dim) on the CPU."""
        ...


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
        return (self.body(x) - self.feature_mean) / self.feature_std

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
def accuracy(model: nn.Module, images: UInt8Array, labels: Any, batch_size: int = 512) -> float:
    """Share of images that the classifier puts into their class."""
    correct = 0
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        predicted = model(to_float(images[part])).argmax(1)
        correct += int((predicted == torch.from_numpy(np.array(labels[part]))).sum())
    return correct / len(images)


def save_classifier(model: Classifier, path: Path) -> None:
    """Write the classifier, whole or not at all."""
    save_tensors(dict(model.state_dict()), {"classifier": model.settings}, path)


class ClassifierExtractor:
    """Features of a classifier that `save_classifier` wrote."""

    name = "classifier"
    metric = "fd_classifier"

    def __init__(self, path: Path, device: torch.device | str = "cpu") -> None:
        tensors, state = load_tensors(path, made_by="the stage `reference`")
        try:
            settings = dict(state["classifier"])
            self.model = Classifier(tuple(settings.pop("image_shape")), **settings)
            self.model.load_state_dict(tensors)
            self.dim = settings["dim"]
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(f"{path}: holds no classifier of this version ({error})") from error
        self.model.eval().to(device)
        self.device = device
        self.weights_sha256 = sha256_file(path)

    @torch.inference_mode()
    def __call__(self, images: UInt8Array) -> Tensor:
        return self.model.features(to_float(images).to(self.device)).float().cpu()


def inception_weights(path: str | None) -> Path:
    """The weights file of FID's InceptionV3: `path` if given, else torch's cache, filled by a checked download.

    Raises:
        InputError: there is no such file and it cannot be downloaded; the message says where it belongs.
    """
    if path:
        if not Path(path).is_file():
            raise InputError(f"evaluate.inception_weights: no such file: {path}")
        return Path(path)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / FID_WEIGHTS_NAME
    if not cached.is_file():
        _download_weights(cached)
    return cached


def _download_weights(target: Path) -> None:
    """pytorch-fid's release file to `target`: checked by its SHA-256's beginning, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    url = FID_WEIGHTS_URL + FID_WEIGHTS_NAME
    remedy = f"put the file at {target} or set evaluate.inception_weights to its path"
    try:
        torch.hub.download_url_to_file(url, str(target), FID_WEIGHTS_PREFIX, progress=sys.stderr.isatty())
    except OSError as error:  # no connection, an HTTP error, a full disk
        raise InputError(
            f"evaluate.inception_weights: not set, torch's cache has no {target}, and {url} cannot be downloaded "
            f"({error}); {remedy}"
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"evaluate.inception_weights: what came from {url} is cut short or another file: its SHA-256 does not "
            f"begin with {FID_WEIGHTS_PREFIX}; {remedy}"
        ) from error


@contextmanager
def _state_dict_instead_of_download(state: dict[str, Tensor]) -> Iterator[None]:
    """pytorch-fid builds its network from a URL only; hand it these weights instead."""
    import pytorch_fid.inception as module

    original = module.load_state_dict_from_url
    module.load_state_dict_from_url = lambda *args, **kwargs: state
    try:
        yield
    finally:
        module.load_state_dict_from_url = original


class InceptionExtractor:
    """The 2048 features of pytorch-fid's InceptionV3, with that package's own resizing and scaling."""

    name = "inception"
    dim = 2048

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        from pytorch_fid.inception import InceptionV3

        self.weights_sha256 = sha256_file(weights)
        # Only the genuine weights give an FID; any others give a distance of some other network.
        self.metric = "fid" if self.weights_sha256.startswith(FID_WEIGHTS_PREFIX) else "fd_inception"
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            with _state_dict_instead_of_download(state):
                self.model = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[self.dim]]).eval().to(device)
        except Exception as error:  # torch.load and load_state_dict raise many types for a damaged or foreign file
            raise InputError(
                f"evaluate.inception_weights: {weights} does not hold the weights of pytorch-fid's InceptionV3 "
                f"({type(error).__name__}: {str(error)[:200]})"
            ) from error
        self.device = device

    @torch.inference_mode()
    def __call__(self, images: UInt8Array) -> Tensor:
        x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(self.device).float() / 255.0
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        out: Tensor = self.model(x)[0][:, :, 0, 0].cpu()
        return out


def make_extractor(
    name: str, *, classifier: Path, inception: str | None, device: torch.device | str = "cpu"
) -> Extractor:
    """The extractor of that name.

    Args:
        classifier: file of the trained classifier.
        inception: path of the Inception weights, None for torch's cache.
    """
    if name == "classifier":
        return ClassifierExtractor(classifier, device)
    if name == "inception":
        return InceptionExtractor(inception_weights(inception), device)
    raise unknown("evaluate.extractor", name, EXTRACTORS)


def extract(
    extractor: Extractor,
    images: UInt8Array,
    batch_size: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Iterator[Tensor]:
    """Features of `images`, batch by batch. `progress` is told the images of each batch."""
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        yield extractor(batch)
        progress(len(batch))
