"""Whether a checkpoint is whole, and belongs to the training that wants to go on from it.

The checksum of `save_tensors` finds what a disk, a copy or an editor has changed. What a checksum cannot find, because
the training itself wrote it, is looked at: names, shapes and types of all tensors, and NaN.
"""

import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from ngldm.io.errors import InputError
from ngldm.io.files import entry, read_json
from ngldm.io.tensors import load_state, require_finite, strip_prefix

OPTIMIZER = "optimizer."


def file_checksum(path: Path) -> int:
    """Of a file's bytes."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            found = zlib.crc32(block, found)
    return found


def require_fitting(
    tensors: Mapping[str, Tensor], parts: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, path: Path
) -> None:
    """Check that tensors are the weights of these modules and the moments of this optimiser, and finite.

    Raises:
        InputError: a tensor is missing, unknown, of another shape or type, or holds NaN.
    """
    own = {f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()}
    weights = {key: value for key, value in tensors.items() if not key.startswith(OPTIMIZER)}
    if wrong := sorted(own.keys() ^ weights.keys()):
        raise InputError(f"{wrong[0]} is missing or unknown")
    for key, value in own.items():
        _require_like(key, weights[key], value)
    moments = strip_prefix(tensors, OPTIMIZER)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not moments:
        raise InputError("the optimiser's moments are missing")
    for key, value in moments.items():
        index = key.split(".", 1)[0]
        if not index.isdecimal() or int(index) >= len(trained):
            raise InputError(f"{OPTIMIZER}{key} is unknown")
        if value.ndim or trained[int(index)].ndim == 0:
            _require_like(f"{OPTIMIZER}{key}", value, trained[int(index)])
    learned = [f"{part}.{key}" for part, module in parts.items() for key, _ in module.named_parameters()]
    finite = {key: tensors[key] for key in learned if key in tensors}  # a buffer may be infinite, as a mask is
    require_finite({**finite, **{f"{OPTIMIZER}{key}": value for key, value in moments.items()}}, path)


def _require_like(key: str, found: Tensor, wanted: Tensor) -> None:
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        both = " instead of ".join(f"{t.dtype} {tuple(t.shape)}".removeprefix("torch.") for t in (found, wanted))
        raise InputError(f"{key} is {both}")


def state_of(folder: Path) -> dict[str, object] | None:
    """The state of a folder's newest checkpoint of which that much can be read, whatever its tensors are."""
    readers = {"last.json": read_json, "last.safetensors": load_state, "previous.safetensors": load_state}
    for name, read in readers.items():
        with suppress(InputError):
            state = read(folder / name)
            entry(state, "made_from", dict)
            entry(state, "step", int)
            return state
    return None
