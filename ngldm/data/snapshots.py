"""Models kept while a network trains, for the stage `curve`."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ngldm.io.files import atomic_directory


@dataclass(frozen=True)
class Snapshots:
    """Model files of a training, named by their step.

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

    def hand_over(self, out: Path) -> None:
        """Move a finished training's snapshots, if it has any, into its output."""
        with atomic_directory(out) as target:
            for file in sorted(self.folder.glob("*.safetensors")):
                shutil.copy2(file, target)
        shutil.rmtree(self.folder, ignore_errors=True)
