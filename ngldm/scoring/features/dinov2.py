"""Features of DINOv2, for FD-DINOv2 (Stein et al. 2023, "Exposing flaws of generative model evaluation metrics").

The network is timm's vision transformer with the weights of the authors (Oquab et al. 2023). The feature is the class
token after the last norm.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.io.items import Items, as_images
from ngldm.io.registry import import_extra
from ngldm.io.tensors import require_finite
from ngldm.scoring.features.resizing import check_resizing, pil_bicubic

KEY = "evaluate.dinov2_weights"
REPOSITORY = "timm/vit_large_patch14_dinov2.lvd142m"  # ViT-L/14, that of FD-DINOv2
FILE = "model.safetensors"
SIDE, PATCH, HEAD = 224, 14, 64
LARGE = (1024, 24)  # width and depth of ViT-L
OFFSET = 0.1  # of the authors' code; it was made to round the size, and moves every position a little
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def dinov2_weights(choice: str | None) -> Path:
    """The file of the weights.

    Args:
        choice: a file, in the authors' form (.pth) or timm's (.safetensors); or a repository of the Hugging Face hub,
            "owner/name", which is downloaded once. None is `REPOSITORY`.

    Raises:
        InputError: there is no such file or repository, or no network.
    """
    if choice and Path(choice).is_file():
        return Path(choice)
    if choice and (choice.count("/") != 1 or Path(choice).suffix in (".pth", ".safetensors")):
        raise InputError(f"{KEY}: no such file: {choice}")
    repository = choice or REPOSITORY
    hub = import_extra("huggingface_hub", f"{KEY} {repository!r}", extra="dinov2")
    try:
        return Path(hub.hf_hub_download(repository, FILE))
    except (OSError, ValueError) as error:  # huggingface_hub's errors are of these kinds
        raise InputError(
            f"{KEY}: {repository} is not in the cache of the Hugging Face hub, and cannot be downloaded "
            f"({str(error).splitlines()[0]}); give the path of a file with the weights"
        ) from error


class DinoV2Extractor:
    """The class token of DINOv2 for images of 224 x 224.

    Args:
        weights: file of ViT-S/14, B/14 or L/14 without registers.
        resizing: "standard" is PIL's bicubic resizing of uint8 images (Stein et al.), "clean" is that of clean-fid.

    Raises:
        InputError: timm is not installed, the file does not hold such weights, or an unknown resizing.
    """

    name = "dinov2"

    def __init__(self, weights: Path, device: torch.device | str = "cpu", resizing: str = "standard") -> None:
        self.rounded = check_resizing(resizing) == "standard"
        self.weights_sha256 = sha256_file(weights)
        state = _read(weights)
        self.dim, depth = state["cls_token"].shape[-1], 1 + max(int(k.split(".")[1]) for k in state if "blocks." in k)
        # FD-DINOv2 is the distance in the features of ViT-L.
        size = "" if (self.dim, depth) == LARGE else f"_{self.dim}x{depth}"
        self.metric = f"fd_dinov2{size}" + ("" if self.rounded else "_clean")
        try:
            self.model = _network(state, depth).eval().to(device)
        except (RuntimeError, ValueError) as error:  # of load_state_dict and of the network
            raise InputError(f"{KEY}: {weights} does not hold the weights of DINOv2 ({str(error)[:200]})") from error
        self.device = device

    @torch.inference_mode()
    def __call__(self, images: Items) -> Tensor:
        x = pil_bicubic(as_images(images), SIDE, rounded=self.rounded).to(self.device) / 255.0
        mean, std = (x.new_tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
        out: Tensor = self.model((x - mean) / std).cpu()
        return out


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights; that which only training uses is left out.

    Raises:
        InputError: it holds something else.
    """
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
        found = {key: value for key, value in state.items() if key != "mask_token"}
        require_finite(found, file)
        if not {"cls_token", "pos_embed", "blocks.0.norm1.weight"} <= set(found):
            raise KeyError("it has no cls_token, pos_embed or blocks.0.norm1.weight")
    except Exception as error:  # for a damaged or wrong file, torch.load raises many types
        raise InputError(f"{KEY}: {file} does not hold the weights of DINOv2 ({str(error)[:200]})") from error
    return found


def _network(state: Mapping[str, Tensor], depth: int) -> nn.Module:
    """timm's vision transformer with these weights."""
    timm = import_extra("timm", "evaluate.extractor 'dinov2'", extra="dinov2")
    dim = state["cls_token"].shape[-1]
    network: nn.Module = timm.models.VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=dim,
        depth=depth,
        num_heads=dim // HEAD,
        init_values=1.0,
        num_classes=0,
        global_pool="token",
    )
    network.load_state_dict({**state, "pos_embed": resampled(state["pos_embed"], SIDE // PATCH)})
    return network


def resampled(positions: Tensor, side: int) -> Tensor:
    """The position embedding (1, 1 + m^2, D) of m x m patches for `side` x `side`, as the authors' code makes it."""
    m = round((positions.shape[1] - 1) ** 0.5)
    if m == side:
        return positions
    grid = positions[:, 1:].float().reshape(1, m, m, -1).permute(0, 3, 1, 2)
    scale = (side + OFFSET) / m
    made = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1].float(), made.permute(0, 2, 3, 1).reshape(1, side * side, -1)], dim=1)
