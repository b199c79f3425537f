"""Autoencoders made from settings, saved, loaded, and measured.

Images are float (B, C, H, W) in [-1, 1]; latents are float (B, c, h, w), unbounded and not yet standardised
(`ngldm.data.cache.latents` does that). Points and their latents are float (B, d). An autoencoder is trained
first, then frozen.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ngldm.io.errors import InputError
from ngldm.io.files import entry
from ngldm.io.images import UInt8Array, enlarge, grid
from ngldm.io.items import Items, are_points, as_images, density
from ngldm.io.tensors import load_tensors, require_finite, save_tensors, to_items, to_tensor
from ngldm.networks.autoencoders.autoencoder import Autoencoder, IdentityAutoencoder
from ngldm.networks.autoencoders.kl import KLAutoencoder
from ngldm.networks.autoencoders.names import OWN_KEYS
from ngldm.networks.autoencoders.paper import PaperAutoencoder
from ngldm.networks.autoencoders.pretrained import PretrainedAutoencoder, PretrainedSettings, load_pretrained
from ngldm.networks.autoencoders.registry import AUTOENCODERS as AUTOENCODERS  # with the kinds below
from ngldm.networks.autoencoders.registry import register, require_images

LONGEST = 500  # characters of another library's message


@register("identity")
def identity(item_shape: tuple[int, ...], transform: str = "none") -> IdentityAutoencoder:
    """The latents are the images themselves, or the transformed points."""
    return IdentityAutoencoder(item_shape, transform)


@register("paper")
def paper(item_shape: tuple[int, ...], latent_channels: int, latent_size: int, width: int) -> PaperAutoencoder:
    """The paper's shapes: latents a little smaller than the images."""
    return PaperAutoencoder(require_images("paper", item_shape), latent_channels, latent_size, width)


@register("kl")
def kl(item_shape: tuple[int, ...], latent_channels: int, levels: int, width: int, kl_weight: float) -> KLAutoencoder:
    """Variational, with half the side at each level, as in latent diffusion."""
    return KLAutoencoder(require_images("kl", item_shape), latent_channels, levels, width, kl_weight)


@register("diffusers", settings=PretrainedSettings)
def pretrained(item_shape: tuple[int, ...], settings: PretrainedSettings) -> PretrainedAutoencoder:
    """A pretrained one of diffusers, from a folder or the hub."""
    return load_pretrained(require_images("diffusers", item_shape), settings)


def build_autoencoder(config: Mapping[str, object], item_shape: tuple[int, ...]) -> Autoencoder:
    """The autoencoder that a configuration names.

    Args:
        config: `kind`, a registered name, and its options. Those of ngldm's own first kinds are keys beside it; those
            of all others stand in the mapping `options`. Other keys are ignored.
        item_shape: (C, H, W) of images, (d,) of points.

    Raises:
        InputError: on an unknown kind, an option that is missing, unknown or of another type, or a latent that the
            image's size does not allow.
    """
    kind = entry(config, "kind", str)
    model = AUTOENCODERS.make(kind, item_shape, arguments(kind, config))
    model.settings = dict(config) if model.options is None else {**config, "options": dict(model.options)}
    return model if model.pretrained else model.float()


def arguments(kind: str, config: Mapping[str, object]) -> dict[str, object]:
    """The options of a kind in a configuration, by name; see `build_autoencoder`.

    Raises:
        InputError: an unknown kind, or a value of another type.
    """
    parameters = AUTOENCODERS.find(kind).parameters
    if kind not in OWN_KEYS:
        return dict(entry(config, "options", dict)) if "options" in config else {}
    wanted = [key for key, parameter in parameters.items() if key in config or parameter.default is parameter.empty]
    return {key: entry(config, key, parameters[key].annotation) for key in wanted}


def save_autoencoder(model: Autoencoder, path: Path) -> None:
    """Write weights and settings to one safetensors file, whole or not at all."""
    save_tensors(model.carried(), {"autoencoder": model.settings}, path)


def load_autoencoder(path: Path, item_shape: tuple[int, ...]) -> Autoencoder:
    """What `save_autoencoder` wrote, for images (C, H, W) or points (d,), ready to encode and decode.

    Raises:
        InputError: the file is missing, damaged, or does not fit the items.
    """
    tensors, state = load_tensors(path, made_by="the stage `autoencoder`")
    if "autoencoder" not in state:
        raise InputError(f"{path}: holds no autoencoder")
    require_finite(tensors, path)
    model = build_autoencoder(entry(state, "autoencoder", dict), item_shape)
    try:
        model.restore(tensors)
    except RuntimeError as error:
        reason = str(error)[:LONGEST]  # torch names each weight that is missing
        raise InputError(f"{path}: its weights do not fit images of shape {item_shape} ({reason})") from error
    return model.eval().requires_grad_(False)


@torch.no_grad()
def reconstruction_psnr(model: Autoencoder, items: Items, batch_size: int = 256) -> float:
    """Peak signal-to-noise ratio, in dB, of the 8-bit reconstructions of uint8 images (N, H, W, C).

    Of points (N, d) the peak is their largest absolute value. At most 100: a perfect reconstruction, whose ratio is
    infinite, is reported as 100.
    """
    squared = 0.0
    peak = float(np.abs(items).max()) if are_points(items) else 255.0
    for start in range(0, len(items), batch_size):
        batch = np.asarray(items[start : start + batch_size])
        decoded = _reconstructed(model, batch)
        squared += float(np.square(decoded.astype(np.float64) - batch).sum())
    mse = squared / items.size
    return min(100.0, 10.0 * math.log10(peak**2 / mse)) if mse else 100.0


@torch.no_grad()
def reconstruction_picture(model: Autoencoder, items: Items, count: int = 16, target: int = 48) -> UInt8Array:
    """The first `count` of uint8 images (N, H, W, C) above what the autoencoder makes of them, as one uint8 picture.

    Of points (N, d) all are shown, on the left, and on the right what the autoencoder makes of them.

    Args:
        target: each image is enlarged to this many pixels or more.

    Returns:
        (H', W', C).
    """
    if are_points(items):
        return grid(np.stack([density(items), density(_reconstructed(model, np.asarray(items)))]), 2, padding=2)
    originals = as_images(np.asarray(items[:count]))
    decoded = as_images(_reconstructed(model, originals))
    return grid(enlarge(np.concatenate([originals, decoded]), target), len(originals), padding=2)


def _reconstructed(model: Autoencoder, items: Items) -> Items:
    weight = next(model.parameters(), None)
    x = to_tensor(items).to("cpu" if weight is None else weight.device)
    return to_items(model.decode(model.encode(x)))
