"""Training state that survives a crash: one safetensors file, its JSON state inside, written atomically.

Weights, EMA weights and optimiser moments are the tensors; the step, the best score so far and the fingerprint of
what is being trained are JSON in the file's metadata, so that the two cannot disagree. A readable copy of the JSON lies
beside it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ngldm.errors import InputError
from ngldm.files import atomic_path, write_json


def fingerprint(content: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of `content`."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def save_tensors(tensors: dict[str, Tensor], state: Any, path: Path) -> None:
    """Write tensors with JSON-able `state` as metadata, whole or not at all."""
    with atomic_path(path) as temporary:
        contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(contiguous, temporary, metadata={"state": json.dumps(state, sort_keys=True)})


def load_tensors(path: Path, made_by: str = "training") -> tuple[dict[str, Tensor], Any]:
    """What `save_tensors` wrote.

    Raises:
        InputError: the file is missing, damaged, or has no state.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; it comes from {made_by}")
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
        return load_file(path), state
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: a safetensors file, but not one that ngldm wrote (no readable state)") from error


class Checkpointer:
    """Keeps `last` and `best` in a folder, for one training that `key` identifies.

    Args:
        folder: outside DVC's outs, since DVC deletes outs before a stage runs.
        key: fingerprint of everything that the training depends on. A checkpoint of another key, or of a training
            that ran to its end, is never resumed.
        every: steps between two saves of `last`; what a crash can lose.
    """

    def __init__(self, folder: Path, key: str, every: int) -> None:
        self.folder, self.key, self.every = folder, key, every

    def save(self, name: str, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer, state: dict) -> None:
        """Save modules, optimiser moments and `state` as `name` ("last" or "best")."""
        tensors = {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        state = {**state, "fingerprint": self.key}
        save_tensors(tensors, state, self.folder / f"{name}.safetensors")
        write_json(self.folder / f"{name}.json", state)

    def resume(self, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict | None:
        """Load `last` into the modules and the optimiser and return its state; None if there is nothing to resume."""
        path = self.folder / "last.safetensors"
        if not path.is_file():
            return None
        tensors, state = load_tensors(path)
        if state["fingerprint"] != self.key or state["complete"]:
            return None
        for part, module in parts.items():
            module.load_state_dict(strip_prefix(tensors, f"{part}."))
        layout = optimizer.state_dict()
        layout["state"] = {}
        for key, value in strip_prefix(tensors, "optimizer.").items():
            index, name = key.split(".", 1)
            layout["state"].setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(layout)
        for parameter, moments in optimizer.state.items():  # a file keeps no strides; fused optimisers rely on them
            for name, value in moments.items():
                if value.shape == parameter.shape:
                    moments[name] = torch.empty_like(parameter).copy_(value)
        result: dict = state
        return result

    def load(self, name: str, part: str) -> dict[str, Tensor]:
        """Weights of one module in `name` ("last" or "best")."""
        return strip_prefix(load_tensors(self.folder / f"{name}.safetensors")[0], f"{part}.")


def strip_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, under the rest of their names."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
