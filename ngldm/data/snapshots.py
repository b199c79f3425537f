"""Models kept while a network trains, for the stage `curve`."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def snapshooter(bundle: Any, ema: Any, every: int, folder: Path) -> Callable[[Any], None]:
    """What a training does at each report: keep the model with its averaged weights, every `every` steps (0: never).

    Args:
        folder: outside DVC's outs, like all that a resumed training needs.
    """
    from dataclasses import replace

    def keep(report: Any) -> None:
        # A resumed training repeats its old reports: their snapshots are there, and the weights are of a later step.
        if every and report.step % every == 0 and report.step == ema.updates:
            replace(bundle, unet=ema.model).save(folder / f"{report.step:09d}.safetensors")

    return keep


def hand_over(folder: Path, out: Path) -> None:
    """Copy a finished training's snapshots, if it has any, into its output."""
    from ngldm.io.files import atomic_directory

    with atomic_directory(out) as target:
        for file in sorted(folder.glob("*.safetensors")):
            shutil.copy2(file, target)
