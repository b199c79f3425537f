"""Features of FID's InceptionV3 network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ngldm.data.sources.web import download, one_at_a_time
from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.io.items import Items, as_images
from ngldm.io.tensors import require_finite
from ngldm.scoring.features.resizing import check_resizing, pil_bicubic

# The file name of the weights that pytorch-fid downloads ends with the first digits of their SHA-256.
FID_WEIGHTS_PREFIX = "6726825d"
FID_WEIGHTS_URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
MAX_BYTES = 2**27  # of the file, which has 96 million
FID_WEIGHTS_NAME = f"pt_inception-2015-12-05-{FID_WEIGHTS_PREFIX}.pth"


def inception_weights(path: str | None) -> Path:
    """The file with the weights of FID's InceptionV3.

    It is `path` if that is given, else the file in torch's cache. If the cache has none, the file is downloaded and
    checked.

    Raises:
        InputError: there is no such file, or it cannot be downloaded. The message says where to put the file.
    """
    if path:
        if not Path(path).is_file():
            raise InputError(f"evaluate.inception_weights: no such file: {path}")
        return Path(path)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / FID_WEIGHTS_NAME
    if not cached.is_file():
        with one_at_a_time(cached):
            if not cached.is_file():  # another process may have loaded it meanwhile
                _download_weights(cached)
    return cached


def _download_weights(target: Path) -> None:
    """Download pytorch-fid's file to `target`. It is kept only if the beginning of its SHA-256 is right."""
    loaded = target.with_name(f".{target.name}.loaded")
    url = FID_WEIGHTS_URL + FID_WEIGHTS_NAME
    remedy = f"put the file at {target}, or give its path (evaluate.inception_weights, or --weights of `ngldm fid`)"
    try:
        download("evaluate.inception_weights", url, loaded, MAX_BYTES)
    except InputError as error:
        raise InputError(f"{error}; it is not set, and torch's cache has no {target}; {remedy}") from None
    if not sha256_file(loaded).startswith(FID_WEIGHTS_PREFIX):
        loaded.unlink()
        raise InputError(
            f"evaluate.inception_weights: the file from {url} is incomplete or wrong: its SHA-256 does not "
            f"begin with {FID_WEIGHTS_PREFIX}; {remedy}"
        )
    loaded.replace(target)


@contextmanager
def _state_dict_instead_of_download(state: dict[str, Tensor]) -> Iterator[None]:
    """pytorch-fid can only build its network from a download. Within the block it gets these weights instead."""
    import pytorch_fid.inception as module

    original = module.load_state_dict_from_url
    module.load_state_dict_from_url = lambda *args, **kwargs: state
    try:
        yield
    finally:
        module.load_state_dict_from_url = original


class InceptionExtractor:
    """The 2048 features of pytorch-fid's InceptionV3.

    Args:
        resizing: to the network's 299 x 299. "standard": as pytorch-fid does, bilinear, without averaging where an
            image gets smaller. "clean": as clean-fid does (`ngldm.scoring.features.resizing`), and its scaling.

    Raises:
        InputError: the file does not hold these weights, or an unknown resizing.
    """

    name = "inception"
    dim = 2048
    side = 299

    def __init__(self, weights: Path, device: torch.device | str = "cpu", resizing: str = "standard") -> None:
        from pytorch_fid.inception import InceptionV3

        self.clean = check_resizing(resizing) == "clean"

        self.weights_sha256 = sha256_file(weights)
        # The distance is an FID only with the genuine weights; with others it is the distance of another network.
        metric = "fid" if self.weights_sha256.startswith(FID_WEIGHTS_PREFIX) else "fd_inception"
        self.metric = f"{metric}_clean" if self.clean else metric
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            with _state_dict_instead_of_download(state):
                block = InceptionV3.BLOCK_INDEX_BY_DIM[self.dim]
                scaled = not self.clean  # else `_clean` does it
                self.model = InceptionV3([block], resize_input=scaled, normalize_input=scaled).eval().to(device)
            self.class_weights: Tensor = state["fc.weight"]  # (1008, 2048): of the classes, for the Inception Score
            require_finite(state, weights)
        except Exception as error:  # for a damaged or wrong file, torch.load and load_state_dict raise many types
            raise InputError(
                f"evaluate.inception_weights: {weights} does not hold the weights of pytorch-fid's InceptionV3 "
                f"({type(error).__name__}: {str(error)[:200]})"
            ) from error
        self.device = device

    @torch.inference_mode()
    def __call__(self, images: Items) -> Tensor:
        x = self._clean(images) if self.clean else self._standard(images)
        out: Tensor = self.model(x)[0][:, :, 0, 0].cpu()
        return out

    def _standard(self, images: Items) -> Tensor:
        """(B, 3, H, W) in [0, 1]; the network resizes and scales it."""
        x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(self.device).float() / 255.0
        return x.expand(-1, 3, -1, -1)

    def _clean(self, images: Items) -> Tensor:
        """(B, 3, 299, 299), scaled as the TensorFlow network does."""
        return (pil_bicubic(as_images(images), self.side, rounded=False).to(self.device) - 128.0) / 128.0
