"""What the pipeline costs besides its work: a stage's start, and a `dvc repro` that has nothing to do.

python -m benchmarks.pipeline [--size smallest|small|full] [--out FOLDER]
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import Row, interleaved, pick, publish, summary

ROOT = Path(__file__).parents[1]


def call(*command: str) -> None:
    subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=True)


def start_up(size: str) -> list[Row]:
    """`--help` of stages, and the imports that a training needs, beside torch's own."""
    from_train = (
        "import ngldm.bundle, ngldm.checkpoint, ngldm.datasets, ngldm.diffusion, ngldm.ema, ngldm.training, "
        "ngldm.plumbing.params"
    )
    contenders = {
        "import torch": lambda: call("-c", "import torch"),
        "stage train, --help": lambda: call("-m", "stages.train", "--help"),
        "stage report, --help": lambda: call("-m", "stages.report", "--help"),
        "imports of train": lambda: call("-c", from_train),
    }
    return summary(interleaved(contenders, pick(size, 1, 3, 7)), 1, "import torch", "starts")


def nothing_to_do(size: str) -> list[Row]:
    """`dvc repro` and DVC's own minimum, `dvc --version`, in this folder; only where the pipeline is up to date."""
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "up to date" not in status.stdout:
        return [{"contender": "dvc repro", "seconds": "not measured: run dvc repro first"}]
    contenders = {
        "dvc --version": lambda: call("-m", "dvc", "--version"),
        "dvc status": lambda: call("-m", "dvc", "status"),
        "dvc repro": lambda: call("-m", "dvc", "repro"),
    }
    return summary(interleaved(contenders, pick(size, 1, 3, 7)), 1, "dvc status", "calls")


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    publish("pipeline", {"start-up": start_up(size), "nothing to do": nothing_to_do(size)}, out)


if __name__ == "__main__":
    typer.run(main)
