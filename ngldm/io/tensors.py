"""Images and points as tensors, and safetensors files that hold their own settings as JSON in the metadata.

The settings hold a checksum of the whole content (CRC-32, about 1 GB/s): a weight that has changed by a bit is a weight
like any other, so that no reader could notice it.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.io.files import atomic_path, parse_json
from ngldm.io.images import UInt8Array
from ngldm.io.items import Items, are_points, as_images

CHECKSUM = "crc32"  # the key that `save_tensors` adds to the state


def to_float(images: UInt8Array) -> Tensor:
    """uint8 (B, H, W, C) to float32 (B, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> UInt8Array:
    """Float (B, C, H, W), nominally in [-1, 1], to uint8 (B, H, W, C): clipped, then rounded to the nearest."""
    scaled = images.detach().float().add(1.0).mul(127.5).round().clamp(0.0, 255.0)
    array: UInt8Array = scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def to_tensor(items: Items) -> Tensor:
    """Items as networks take them, float32: images (N, H, W, C) as `to_float` has it, points (N, d) as they are."""
    return torch.from_numpy(np.array(items, np.float32)) if are_points(items) else to_float(as_images(items))


def to_items(decoded: Tensor) -> Items:
    """The inverse of `to_tensor`: (B, C, H, W) to uint8 images as `to_uint8` has it, (B, d) to float32 points."""
    if decoded.ndim != 2:
        return to_uint8(decoded)
    points: Items = decoded.detach().float().cpu().numpy()
    return points


def content_checksum(tensors: Mapping[str, Tensor], state: Mapping[str, object]) -> int:
    """CRC-32 of names, types, shapes and bytes of tensors on the CPU, and of a state."""
    found = zlib.crc32(json.dumps(state, sort_keys=True).encode())
    for key, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return found


def save_tensors(tensors: Mapping[str, Tensor], state: Mapping[str, object], path: Path) -> None:
    """Write tensors, and `state` as JSON in the metadata, whole or not at all, and wait until the disk has them."""
    with atomic_path(path, durable=True) as temporary:
        contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        known = {**state, CHECKSUM: content_checksum(contiguous, state)}
        save_file(contiguous, temporary, metadata={"state": json.dumps(known, sort_keys=True)})


def load_tensors(
    path: Path, made_by: str = "training", checked: bool = False
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors (on the CPU) and state that `save_tensors` wrote.

    Args:
        made_by: what writes such files, for the messages.
        checked: refuse a file without a checksum. Those of older versions have none.

    Raises:
        InputError: the file is missing or damaged, has changed since it was written, or has no state.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; it comes from {made_by}")
    state = load_state(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
    known = state.pop(CHECKSUM, None)
    if (checked or known is not None) and known != content_checksum(tensors, state):
        fault = "has no checksum" if known is None else "has changed since it was written: its checksum is wrong"
        raise InputError(f"{path}: {fault}; it comes from {made_by}")
    return tensors, state


def load_state(path: Path) -> dict[str, object]:
    """The state alone of a file that `save_tensors` wrote. No tensor is read.

    Raises:
        InputError: the file is missing, damaged, or has no state.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("state", "null")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
    try:
        state = parse_json(text, str(path))
    except InputError:
        state = None
    if not isinstance(state, dict):
        raise InputError(f"{path}: a safetensors file, but not one that ngldm wrote (no readable state)")
    return state


def require_finite(tensors: Mapping[str, Tensor], path: Path, unbounded: tuple[str, ...] = ()) -> None:
    """Refuse NaN and infinite numbers.

    Args:
        path: of the file that they come from.
        unbounded: names of tensors that may hold infinite ones.

    Raises:
        InputError: there is one; the message names file and tensor.
    """
    for name, tensor in tensors.items():
        bad = tensor.isnan() if name in unbounded else ~tensor.isfinite()
        if bad.any():
            raise InputError(f"{path}: NaN or infinite numbers in {name} ({int(bad.sum())} of {tensor.numel()})")


def strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, under the rest of their names."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
