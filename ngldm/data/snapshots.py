"""What is kept while a network trains: models for the stage `curve`, and averages of its weights.

On disk: <step>.safetensors for each kept model, and snapshots.json, their names and checksums. The list is there too
where no models are kept: DVC warns of an empty output. With train.ema there is also ema/ (`ngldm.training.tracks`).
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ngldm.io.errors import InputError, require_name
from ngldm.io.files import (
    atomic_directory,
    entry,
    read_json,
    require,
    require_unchanged,
    write_described,
)

INDEX, AVERAGES = "snapshots.json", "ema"


@dataclass(frozen=True)
class Snapshots:
    """Models of a training under way.

    Attributes:
        folder: outside DVC's outs, like all that a resumed training needs.
        every: steps between two of them; 0 keeps none.
    """

    folder: Path
    every: int

    def keep(self, step: int, save: Callable[[Path], None]) -> None:
        """Have `save` write the model of that step, if it is one to keep."""
        if self.every and step % self.every == 0:
            save(self.folder / f"{step:09d}.safetensors")

    @property
    def averages(self) -> Path:
        """The folder of the averages of a training under way."""
        return self.folder / AVERAGES

    def hand_over(self, out: Path) -> None:
        """Copy the finished training's snapshots, if it has any, into its output."""
        files = sorted(self.folder.glob("*.safetensors"))
        with atomic_directory(out) as target:
            for file in files:
                shutil.copy2(file, target)
            names = [file.name for file in files]
            write_described(target / INDEX, {"models": names}, names)
            if self.averages.is_dir():
                shutil.copytree(self.averages, target / AVERAGES)


def snapshot_files(path: Path) -> list[Path]:
    """The models of a folder that `Snapshots.hand_over` wrote, the first step first.

    Raises:
        InputError: the folder or its list is missing or damaged; a name is there twice or is no step; or a model is
            missing or has changed, as where two were exchanged.
    """
    index = read_json(require(path, "the stage `train`") / INDEX, "models")
    names = entry(index, "models", list, path / INDEX)
    for number, name in enumerate(names):
        if not re.fullmatch(r"[0-9]+\.safetensors", require_name(f"{path / INDEX}: models", name)):
            raise InputError(f"{path / INDEX}: models: {name!r} is not named after its step")
        if name in names[:number]:
            raise InputError(f"{path / INDEX}: models: {name!r} is there twice")
    require_unchanged(path / INDEX, "sha256", index)
    return [path / name for name in names]
