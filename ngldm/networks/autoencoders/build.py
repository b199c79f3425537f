"""Autoencoders made from settings, saved, loaded, and measured.

Images are float (B, C, H, W) in [-1, 1]; latents are float (B, c, h, w), unbounded and not yet standardised
(`ngldm.data.latents` does that). An autoencoder is trained first, then frozen.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ngldm.io.errors import InputError, unknown
from ngldm.io.files import entry
from ngldm.io.images import UInt8Array, enlarge, grid
from ngldm.io.tensors import load_tensors, require_finite, save_tensors, to_float, to_uint8
from ngldm.networks.autoencoders.autoencoder import Autoencoder, IdentityAutoencoder
from ngldm.networks.autoencoders.kl import KLAutoencoder
from ngldm.networks.autoencoders.paper import PaperAutoencoder
from ngldm.networks.names import AUTOENCODERS


def build_autoencoder(config: Mapping[str, object], image_shape: tuple[int, int, int]) -> Autoencoder:
    """The autoencoder that a configuration names.

    Args:
        config: `kind`, one of `AUTOENCODERS`; for "paper" also latent_channels, latent_size, width; for "kl"
            latent_channels, levels, width, kl_weight. Other keys are ignored.
        image_shape: (C, H, W).

    Raises:
        InputError: on an unknown kind, a setting that is missing, or a latent that the image's size does not allow.
    """
    model = _make(config, image_shape)
    model.settings = dict(config)
    return model


def _make(config: Mapping[str, object], image_shape: tuple[int, int, int]) -> Autoencoder:
    kind = entry(config, "kind", str)
    if kind == "identity":
        return IdentityAutoencoder(image_shape)
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


def load_autoencoder(path: Path, image_shape: tuple[int, int, int]) -> Autoencoder:
    """What `save_autoencoder` wrote, for images of that shape (C, H, W), ready to encode and decode.

    Raises:
        InputError: the file is missing, damaged, or does not fit the images.
    """
    tensors, state = load_tensors(path, made_by="the stage `autoencoder`")
    if "autoencoder" not in state:
        raise InputError(f"{path}: holds no autoencoder")
    require_finite(tensors, path)
    model = build_autoencoder(entry(state, "autoencoder", dict), image_shape)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights do not fit images of shape {image_shape} ({error})") from error
    return model.eval().requires_grad_(False)


@torch.no_grad()
def reconstruction_psnr(model: Autoencoder, images: UInt8Array, batch_size: int = 256) -> float:
    """Peak signal-to-noise ratio, in dB, of the 8-bit reconstructions of uint8 images (N, H, W, C).

    At most 100: a perfect reconstruction, whose ratio is infinite, is reported as 100.
    """
    squared = 0.0
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        decoded = to_uint8(model.decode(model.encode(to_float(batch))))
        squared += float(np.square(decoded.astype(np.float64) - batch).sum())
    mse = squared / images.size
    return min(100.0, 10.0 * math.log10(255.0**2 / mse)) if mse else 100.0


@torch.no_grad()
def reconstruction_picture(model: Autoencoder, images: UInt8Array, count: int = 16, target: int = 48) -> UInt8Array:
    """The first `count` of uint8 images (N, H, W, C) above what the autoencoder makes of them, as one uint8 picture.

    Args:
        target: each image is enlarged to this many pixels or more.

    Returns:
        (H', W', C).
    """
    originals = np.asarray(images[:count])
    decoded = to_uint8(model.decode(model.encode(to_float(originals))))
    return grid(enlarge(np.concatenate([originals, decoded]), target), len(originals), padding=2)
