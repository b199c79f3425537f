"""Training state that survives a crash: one safetensors file, written atomically.

Its tensors are weights, EMA weights and optimiser moments. The step, the best held-out loss so far and what the
training is made from are JSON in the same file's metadata, so that they always belong to these tensors. A second file
holds a readable copy of the JSON.

The last two are kept, `last` and `previous`. A file that is damaged (`whole.py`) is set aside as
`<name>.damaged.safetensors`, and the training goes on from the one before: so a damaged file costs an interval, and
never changes a result.

A checkpoint is resumed only by a training that is made from the same things (`decisive.py`).
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import torch
from torch import Tensor, nn

from ngldm.io import processes
from ngldm.io.disk import storage_fault
from ngldm.io.errors import InputError
from ngldm.io.files import differences, entry, fingerprint, newest_first, sync, write_json
from ngldm.io.tensors import load_tensors, save_tensors, strip_prefix
from ngldm.training.checkpoints.lock import alone, if_free, locked
from ngldm.training.checkpoints.whole import OPTIMIZER, file_checksum, require_fitting, state_of

State = dict[str, object]  # what a training needs to resume, besides its tensors, in types that JSON has
KEY = "[0-9a-f]" * 12  # of the name of a folder; without it, laplace would count laplace-s1 as its own
KEPT = 4  # stopped trainings of a label whose checkpoints are kept beside that of the running one


class Checkpointer:
    """Keeps `last` and `best` of one training in a folder of its own.

    Args:
        root: folder of all checkpoints. It must not be an output of DVC, because DVC deletes outputs before a stage
            runs.
        label: name of the training. Trainings that differ only in `made_from` have the same label.
        made_from: everything that the training depends on, in types that JSON has. A checkpoint that was made from
            anything else is never resumed.
        every: steps between two saves of `last`. A crash can lose that many steps.
        keeps_best: whether `best` is read when the training is done. If so, it is saved, and a training whose `best`
            is damaged starts anew.
        wanted: whether someone wants `last` to be saved now; asked after each step.
        say: called with a line for the user.

    Attributes:
        key: fingerprint of `made_from`.
        folder: <root>/<label>-<start of the key>.
        chosen: the settings that this machine has chosen for the training, where that was left to it.
        threads: of torch that the last steps had.
    """

    def __init__(
        self,
        root: Path,
        label: str,
        made_from: Mapping[str, object],
        every: int,
        keeps_best: bool = True,
        wanted: Callable[[], bool] = lambda: False,
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.label, self.every, self.keeps_best, self.wanted, self.say = label, every, keeps_best, wanted, say
        self.made_from = json.loads(json.dumps(made_from, default=str))  # as it will be read back
        self.key = fingerprint(self.made_from)
        self.folder = root / f"{label}-{self.key[:12]}"
        self.chosen: dict[str, str] = {}
        self.threads = torch.get_num_threads()
        self._start, self._before = time.perf_counter(), 0.0
        self._sums: dict[Path, tuple[tuple[int, int], int]] = {}  # of files that others keep in the folder

    def seconds(self) -> float:
        """How long the training has taken, in seconds: up to the resumed checkpoint, and since `until_done` has begun.

        Without that it counts since this object was made.
        """
        return self._before + time.perf_counter() - self._start

    @contextmanager
    def until_done(self, on_wait: Callable[[str], object] = lambda holder: None) -> Iterator[None]:
        """Lock the folder while the block trains and writes its results. Remove the folder if the block succeeds.

        Another command with the same training waits, so that the two do not mix their files. The lock of a process
        that was killed is free. The file of the lock goes together with the folder.

        All processes of a command must call it. The main one has the lock, and the others wait with it, however long
        that takes.

        Args:
            on_wait: called once by the main process if there is another one to wait for, with its id and its machine.

        Raises:
            InputError: the folder of all checkpoints cannot be written.
        """
        with alone(self.folder, on_wait):
            self._start = time.perf_counter()  # to wait is not to train
            yield
            if processes.is_main():
                shutil.rmtree(self.folder, ignore_errors=True)

    def remove_stale(self, stale: Callable[[Mapping[str, object]], bool]) -> list[Path]:
        """Remove other checkpoints of this label that no training will continue, and locks that nobody holds.

        Removed are those without a readable `last`, those that are stale, and all but the `KEPT` newest. A training
        that is running keeps its own.

        Args:
            stale: told what a checkpoint was made from, says whether it is of no use any more.

        Returns:
            The folders that were removed.
        """
        root, removed, kept = self.folder.parent, list[Path](), 0
        pattern = f"{escape(self.label)}-{KEY}"
        folders = newest_first(path for path in root.glob(pattern) if path.is_dir() and path != self.folder)
        others = [*folders, *(folder for folder in locked(root, pattern) if folder != self.folder)]
        for folder in dict.fromkeys(others):
            with if_free(folder) as free:
                if free and kept < KEPT and _is_useful(folder, stale):
                    kept += 1
                elif free and folder.exists():
                    shutil.rmtree(folder, ignore_errors=True)
                    removed.append(folder)
        return removed

    def save(self, name: str, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer, state: State) -> None:
        """Save modules, optimiser moments and `state` as `name` ("last" or "best"), and keep the `last` before it."""
        tensors = {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"{OPTIMIZER}{index}.{k}": v for k, v in moments.items()}
        content = {**state, "made_from": self.made_from, "seconds": self.seconds(), "files": self._files()}
        if name == "last":
            save_tensors(tensors, content, self._file("next"))
            if self._file("last").exists():
                self._file("last").replace(self._file("previous"))
            self._file("next").replace(self._file("last"))
            sync(self.folder)
        else:
            save_tensors(tensors, content, self._file(name))
        write_json(self.folder / f"{name}.json", content)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _others(self) -> list[Path]:
        """The files that others keep in folders of the folder, and in folders of those, as snapshots."""
        found = sorted(self.folder.glob("*/**/*"))
        return [path for path in found if path.is_file() and not path.name.startswith(".")]

    def _files(self) -> dict[str, int]:
        """The checksums of what others keep."""
        found = {}
        for path in self._others():
            stamp = (path.stat().st_mtime_ns, path.stat().st_size)
            if self._sums.get(path, (None, 0))[0] != stamp:
                self._sums[path] = stamp, file_checksum(path)
            found[path.relative_to(self.folder).as_posix()] = self._sums[path][1]
        return found

    def note(self, step: int) -> None:
        """Say that something of `step` is kept in the folder, where there are no weights to save."""
        write_json(self.folder / "last.json", {"step": step, "made_from": self.made_from})

    def resume(
        self,
        parts: dict[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        check: Callable[[State], object] = lambda state: None,
    ) -> State | None:
        """Load the newest checkpoint that is whole into the modules and the optimiser, and return its state.

        The main process reads the file and tells the others, whose disks need not have it. Those that are damaged are
        set aside, and a line says so.

        Args:
            check: raises `InputError` if a state cannot be this training's.

        Returns:
            None if there is nothing to resume.
        """
        found = processes.from_main(lambda: self._newest_whole(parts, optimizer, check))
        if processes.is_main():
            known = entry(found[1], "files", dict) if found else {}
            for path in self._others():  # of later steps, which come again
                if path.relative_to(self.folder).as_posix() not in known:
                    path.unlink()
        if found is None:
            return None
        tensors, state = found
        self._before = entry(state, "seconds", float)
        for part, module in parts.items():
            module.load_state_dict(strip_prefix(tensors, f"{part}."))
        layout = optimizer.state_dict()
        layout["state"] = {}
        for key, value in strip_prefix(tensors, OPTIMIZER).items():
            index, name = key.split(".", 1)
            layout["state"].setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(layout)
        for parameter, moments in optimizer.state.items():  # the file keeps no strides, which fused optimisers need
            for name, value in moments.items():
                if value.shape == parameter.shape:
                    moments[name] = torch.empty_like(parameter).copy_(value)
        return state

    def _newest_whole(
        self, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer, check: Callable[[State], object]
    ) -> tuple[dict[str, Tensor], State] | None:
        faults, found = [], None
        for name in ("next", "last", "previous"):  # a kill while a checkpoint was saved may leave `next`
            path = self._file(name)
            if not path.is_file():
                continue
            try:
                tensors, state = self._whole(name)
                require_fitting(tensors, parts, optimizer, path)
                check(state)
                found = tensors, state
                break
            except InputError as error:
                if error.__cause__ and (fault := storage_fault(error.__cause__, path)):
                    raise fault from error  # it may be whole: as without permission, or with too many open files
                reason = str(error).removeprefix(f"{path}: ")
                aside = path.with_name(f"{name}.damaged.safetensors")
                path.replace(aside)
                faults.append(f"{path} is damaged ({reason}) and was set aside as {aside.name}")
        if faults:
            self.say("; ".join([*faults, f"goes on from step {found[1]['step']}" if found else "starts anew"]))
        return found

    def _whole(self, name: str) -> tuple[dict[str, Tensor], State]:
        """The content of a checkpoint, with all files that belong to it.

        Raises:
            InputError: something is damaged or missing, or of another training.
        """
        tensors, state = load_tensors(self._file(name), checked=True)
        if state.get("made_from") != self.made_from:
            raise InputError("of another training")
        if name == "best":
            return tensors, state
        for file, known in entry(state, "files", dict).items():
            path = self.folder / file
            if not path.is_file() or file_checksum(path) != known:
                raise InputError(f"{file}, which belongs to it, is missing or damaged")
        if self.keeps_best and state.get("best") is not None:
            try:
                self._whole("best")
            except InputError as error:
                raise InputError(f"best.safetensors, which belongs to it: {error}") from error
        return tensors, state

    def outlook(self) -> str | None:
        """A line that says whether a checkpoint of this label is resumed, and if not, why. None if there is none."""
        folders = [path for path in self.folder.parent.glob(f"{escape(self.label)}-{KEY}") if any(path.glob("last.*"))]
        if not folders:
            return None
        folder = self.folder if self.folder in folders else newest_first(folders)[0]
        state = state_of(folder)
        if state is None:
            return f"checkpoint in {folder} not used, it is damaged, or an older version wrote it"
        changed = differences(state["made_from"], self.made_from)
        if not changed:
            return f"continues from the checkpoint of step {state['step']} in {folder}"
        return f"checkpoint of step {state['step']} in {folder} not used, changed since: {', '.join(changed)}"

    def load(self, name: str, part: str) -> dict[str, Tensor]:
        """Weights of one module in `name` ("last" or "best")."""
        return strip_prefix(load_tensors(self._file(name))[0], f"{part}.")


def _is_useful(folder: Path, stale: Callable[[Mapping[str, object]], bool]) -> bool:
    state = state_of(folder)
    return state is not None and not stale(entry(state, "made_from", dict))
