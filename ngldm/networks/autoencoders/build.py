"""Autoencoders made from settings, saved, loaded, and measured.

Images are float (B, C, H, W) in [-1, 1]; latents are float (B, c, h, w), unbounded and not yet standardised
(`ngldm.data.latents` does that). Points and their latents are float (B, d). An autoencoder is trained
first, then frozen.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ngldm.io.errors import InputError, unknown
from ngldm.io.files import entry
from ngldm.io.images import UInt8Array, enlarge, grid
from ngldm.io.items import Items, are_points, as_images, density
from ngldm.io.tensors import load_tensors, require_finite, save_tensors, to_items, to_tensor
from ngldm.networks.autoencoders.autoencoder import Autoencoder, IdentityAutoencoder
from ngldm.networks.autoencoders.kl import KLAutoencoder
from ngldm.networks.autoencoders.paper import PaperAutoencoder
from ngldm.networks.names import AUTOENCODERS


def build_autoencoder(config: Mapping[str, object], item_shape: tuple[int, ...]) -> Autoencoder:
    """The autoencoder that a configuration names.

    Args:
        config: `kind`, one of `AUTOENCODERS`; for "paper" also latent_channels, latent_size, width; for "kl"
            latent_channels, levels, width, kl_weight; for points `transform`. Other keys are ignored.
        item_shape: (C, H, W) of images, (d,) of points.

    Raises:
        InputError: on an unknown kind, a setting that is missing, or a latent that the image's size does not allow.
    """
    model = _make(config, item_shape)
    model.settings = dict(config)
    return model


def _make(config: Mapping[str, object], item_shape: tuple[int, ...]) -> Autoencoder:
    kind = entry(config, "kind", str)
    if kind == "identity":
        return IdentityAutoencoder(item_shape, entry(config, "transform", str) if "transform" in config else "none")
    if kind in AUTOENCODERS and len(item_shape) != 3:
        raise InputError(f"autoencoder.kind: {kind!r} is for images; points need 'identity'")
    image_shape = cast(tuple[int, int, int], item_shape)
    if kind == "paper":
        channels, size, width = (entry(config, key, int) for key in ("latent_channels", "latent_size", "width"))
        return PaperAutoencoder(image_shape, channels, size, width)
    if kind == "kl":
        channels, levels, width = (entry(config, key, int) for key in ("latent_channels", "levels", "width"))
        return KLAutoencoder(image_shape, channels, levels, width, entry(config, "kl_weight", float))
    raise unknown("autoencoder.kind", kind, AUTOENCODERS)


def save_autoencoder(model: Autoencoder, path: Path) -> None:
    """Write weights and settings to one safetensors file, whole or not at all."""
    save_tensors(dict(model.state_dict()), {"autoencoder": model.settings}, path)


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
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights do not fit images of shape {item_shape} ({error})") from error
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
    return to_items(model.decode(model.encode(to_tensor(items))))
