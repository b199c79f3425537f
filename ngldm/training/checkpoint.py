"""Training state that survives a crash: one safetensors file, its JSON state inside, written atomically.

Weights, EMA weights and optimiser moments are the tensors; the step, the best score so far and what is being trained
are JSON in the file's metadata, so that the two cannot disagree. A readable copy of the JSON lies beside it.

Which settings of the loop decide the result, so that a checkpoint made with others is not resumed (`decisive`):

| key | decides | part of the key |
| --- | --- | --- |
| max_steps, lr, lr_schedule, warmup_steps, weight_decay, grad_clip, ema_decay, batch_size | the weights | yes |
| precision, compile | the weights: other roundings | yes |
| export | which weights are handed over | yes |
| eval_every | which weights are the best | only if export is best |
| snapshot_every | which models are kept on the way | yes |
| log_every | the rows of the history; resumed, it keeps its old rows | no |
| checkpoint_every | what a crash can lose | no |

Device and number of threads are no settings of the loop. A run that goes on elsewhere ends with weights that differ in
their last bits.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor, nn

from ngldm.io.errors import InputError
from ngldm.io.files import differences, fingerprint, newest_first, read_json, write_json
from ngldm.io.tensors import load_tensors, save_tensors, strip_prefix

State = dict[str, object]  # JSON-able: what a training must know of itself beside its tensors
UNDECISIVE = ("log_every", "checkpoint_every")


def decisive(config: Mapping[str, object]) -> dict[str, object]:
    """The settings of a training loop that decide its result; see the table above."""
    left_out = UNDECISIVE if config.get("export") == "best" else (*UNDECISIVE, "eval_every")
    return {key: value for key, value in config.items() if key not in left_out}


class Checkpointer:
    """Keeps `last` and `best` of one training in a folder of its own.

    Args:
        root: of all checkpoints; outside DVC's outs, since DVC deletes outs before a stage runs.
        label: names the training; what differs in `made_from` alone has the same label.
        made_from: all that the training depends on, JSON-able. A checkpoint made from anything else is never resumed.
        every: steps between two saves of `last`; what a crash can lose.

    Attributes:
        key: fingerprint of `made_from`.
        folder: <root>/<label>-<start of the key>.
    """

    def __init__(self, root: Path, label: str, made_from: Mapping[str, object], every: int) -> None:
        self.label, self.every = label, every
        self.made_from = json.loads(json.dumps(made_from, default=str))  # as it will be read back
        self.key = fingerprint(self.made_from)
        self.folder = root / f"{label}-{self.key[:12]}"

    @contextmanager
    def until_done(self) -> Iterator[None]:
        """Hold the folder for a training and the writing of its results; remove it if the block succeeds.

        Another process that does the same training waits: it would mix its files with ours.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.with_name(f".{self.folder.name}.lock")):
            yield
            shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, name: str, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer, state: State) -> None:
        """Save modules, optimiser moments and `state` as `name` ("last" or "best")."""
        tensors = {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        content = {**state, "made_from": self.made_from}
        save_tensors(tensors, content, self.folder / f"{name}.safetensors")
        write_json(self.folder / f"{name}.json", content)

    def resume(self, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> State | None:
        """Load `last` into the modules and the optimiser and return its state; None if there is nothing to resume.

        Raises:
            InputError: the file is damaged.
        """
        path = self.folder / "last.safetensors"
        if not path.is_file():
            return None
        tensors, state = load_tensors(path)
        if state.get("made_from") != self.made_from:
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
        return state

    def unused(self) -> str | None:
        """Why the newest checkpoint of this label is not resumed, in one line; None if there is none or if it is."""
        files = newest_first(self.folder.parent.glob(f"{escape(self.label)}-*/last.json"))
        if not files:
            return None
        own = self.folder / "last.json"
        file = own if own in files else files[0]
        try:
            state = read_json(file, "made_from", "step")
        except InputError:
            return f"checkpoint in {file.parent} not used, it is damaged, or an older version wrote it"
        changed = differences(state["made_from"], self.made_from)
        if not changed:
            return None
        return f"checkpoint of step {state['step']} in {file.parent} not used, changed since: {', '.join(changed)}"

    def load(self, name: str, part: str) -> dict[str, Tensor]:
        """Weights of one module in `name` ("last" or "best")."""
        return strip_prefix(load_tensors(self.folder / f"{name}.safetensors")[0], f"{part}.")
