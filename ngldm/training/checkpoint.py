"""Training state that survives a crash: one safetensors file, its JSON state inside, written atomically.

Weights, EMA weights and optimiser moments are the tensors; the step, the best score so far and the fingerprint of
what is being trained are JSON in the file's metadata, so that the two cannot disagree. A readable copy of the JSON lies
beside it.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ngldm.io.files import write_json
from ngldm.io.tensors import load_tensors, save_tensors, strip_prefix


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
