"""What is kept while a network trains: models for the stage `curve`, and averages of its weights.

On disk: <step>.safetensors for each kept model, and snapshots.json, their names. The list is there too where no models
are kept: DVC warns of an empty output. With train.ema there is also ema/ (`ngldm.training.tracks`).
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ngldm.io.errors import require_name
from ngldm.io.files import atomic_directory, entry, read_json, require, write_json

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
            write_json(target / INDEX, {"models": [file.name for file in files]})
            if self.averages.is_dir():
                shutil.copytree(self.averages, target / AVERAGES)


def snapshot_files(path: Path) -> list[Path]:
    """The models of a folder that `Snapshots.hand_over` wrote, the first step first.

    Raises:
        InputError: the folder or its list is missing or damaged.
    """
    index = read_json(require(path, "the stage `train`") / INDEX, "models")
    names = entry(index, "models", list, path / INDEX)
    return [path / require_name(f"{path / INDEX}: models", name) for name in names]
