"""Models kept while a network trains, for the stage `curve`.

On disk: <step>.safetensors for each kept model, and snapshots.json, their names. The list is there too where no models
are kept: DVC warns of an empty output.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ngldm.io.files import atomic_directory, read_json, require, write_json

INDEX = "snapshots.json"


def snapshooter(bundle: Any, ema: Any, every: int, folder: Path) -> Callable[[Any], None]:
    """What a training does at each report: keep the model with its averaged weights, every `every` steps (0: never).

    Args:
        folder: outside DVC's outs, like all that a resumed training needs.
    """

    def keep(report: Any) -> None:
        # A resumed training repeats its old reports: their snapshots are there, and the weights are of a later step.
        if every and report.step % every == 0 and report.step == ema.updates:
            replace(bundle, unet=ema.model).save(folder / f"{report.step:09d}.safetensors")

    return keep


def hand_over(folder: Path, out: Path) -> None:
    """Move a finished training's snapshots, if it has any, into its output."""
    files = sorted(folder.glob("*.safetensors"))
    with atomic_directory(out) as target:
        for file in files:
            shutil.copy2(file, target)
        write_json(target / INDEX, {"models": [file.name for file in files]})
    shutil.rmtree(folder, ignore_errors=True)


def snapshot_files(path: Path) -> list[Path]:
    """The models of a folder that `hand_over` wrote, the first step first.

    Raises:
        InputError: the folder or its list is missing or damaged.
    """
    return [path / name for name in read_json(require(path, "the stage `train`") / INDEX, "models")["models"]]
