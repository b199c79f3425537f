"""The checkpoints of stages: where they are kept, and what is printed about them; of those that train, and of others.

Of several processes only the main one reads and writes them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_path, differences
from ngldm.pipeline.signals import told_to_save
from ngldm.pipeline.workspace import main_root
from ngldm.training.checkpoints.checkpointer import Checkpointer
from ngldm.training.checkpoints.whole import file_checksum


@contextmanager
def resumable(
    title: str, label: str, made_from: Mapping[str, Any], every: int, keeps_best: bool = False
) -> Iterator[Checkpointer]:
    """Checkpoints for a block that trains and writes the results. They are removed if the block succeeds.

    They are kept in checkpoints/ of the main repository, which is not an output of DVC. If there are older ones, a
    printed line says that the training continues from one, or why none is used. Those that older code made are removed,
    and a line says so. Those that were made with other settings or data stay: another experiment may continue them.

    Args:
        title: what the printed line begins with.
        label, made_from, every, keeps_best: as in `Checkpointer`.

    Raises:
        InputError: another process has other settings, files or code.
    """

    def say(line: str) -> None:
        print(f"{title}: {line}", flush=True)

    checkpointer = Checkpointer(main_root() / "checkpoints", label, made_from, every, keeps_best, told_to_save, say)
    for rank, other in enumerate(all_made_from := processes.gather(checkpointer.made_from)):
        if changed := differences(all_made_from[0], other):
            raise InputError(f"{title}: process {rank} differs from process 0 in: {', '.join(changed)}")

    def waits(holder: str) -> None:
        say(f"waits for {holder}, which has the same training ({checkpointer.folder})")

    with checkpointer.until_done(waits):
        if processes.is_main():
            if note := checkpointer.outlook():
                say(note)
            for folder in checkpointer.remove_stale(lambda old: _is_of_older_code(old, made_from)):
                say(f"removed {folder}, which no training will continue")
        yield checkpointer


class Parts:
    """Arrays that are kept in the folder of a checkpoint as they are made; see `ngldm.io.processes.spread`.

    The name of a file holds its checksum, <part>-<CRC-32>.npy. A damaged file is removed, a line says so, and the part
    is made again.

    Args:
        checkpointer: of a block of `resumable`.
        name: of these parts.
    """

    def __init__(self, checkpointer: Checkpointer, name: str) -> None:
        self.checkpointer, self.folder = checkpointer, checkpointer.folder / name
        self._files: dict[int, Path] = {}

    def done(self) -> list[int]:
        for file in sorted(self.folder.glob("[0-9]*-*.npy")):
            part, known = file.stem.split("-")
            if f"{file_checksum(file):08x}" == known:
                self._files[int(part)] = file
            else:
                file.unlink()
                self.checkpointer.say(f"{file} is damaged and was removed; it is made again")
        return list(self._files)

    def read(self, part: int) -> NDArray[Any]:
        found: NDArray[Any] = np.load(self._files[part], allow_pickle=False)
        return found

    def write(self, part: int, content: NDArray[Any]) -> None:
        with atomic_path(self.folder / f"{part}.npy") as temporary:
            np.save(temporary, content, allow_pickle=False)
        whole = self.folder / f"{part}.npy"
        self._files[part] = whole.replace(self.folder / f"{part}-{file_checksum(whole):08x}.npy")
        self.checkpointer.note(part + 1)


def _is_of_older_code(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether what `made_from`, `own_noise` and `own_network` say of the code differs."""
    if old.get("code") != new.get("code"):
        return True
    pairs = ((old.get(key, {}), new.get(key, {})) for key in ("own_noise", "own_network", "own_autoencoder"))
    return any(before[name] != now[name] for before, now in pairs for name in before.keys() & now.keys())
