"""The time of the pipeline besides its work: the start of a stage, and a `dvc repro` that has nothing to do.

python -m benchmarks.pipeline [--size smallest|small|full] [--workspace FOLDER] [--out FOLDER]
"""

import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import Row, interleaved, pick, publish, summary

ROOT = Path(__file__).parents[1]


def call(*command: str, folder: Path = ROOT) -> None:
    subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, check=True)


def start_up(size: str) -> list[Row]:
    """`--help` of stages, the imports that a training needs, and the import of torch."""
    from_train = (
        "import ngldm.model, ngldm.training.loop, ngldm.training.checkpoints.checkpointer, ngldm.data.dataset, "
        "ngldm.pipeline.config.params"
    )
    contenders = {
        "import torch": lambda: call("-c", "import torch"),
        "stage train, --help": lambda: call("-m", "stages.train", "--help"),
        "stage report, --help": lambda: call("-m", "stages.report", "--help"),
        "imports of train": lambda: call("-c", from_train),
    }
    return summary(interleaved(contenders, pick(size, 1, 3, 7)), 1, "import torch", "starts")


def nothing_to_do(workspace: Path, size: str) -> list[Row]:
    """`dvc repro` if the pipeline is up to date, and other commands of DVC for comparison."""
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=workspace, capture_output=True, text=True, check=False
    )
    if "up to date" not in status.stdout:
        return [{"contender": "dvc repro", "seconds": "not measured: run dvc repro first"}]
    contenders = {
        "dvc --version": lambda: call("-m", "dvc", "--version", folder=workspace),
        "dvc status": lambda: call("-m", "dvc", "status", folder=workspace),
        "dvc repro": lambda: call("-m", "dvc", "repro", folder=workspace),
    }
    return summary(interleaved(contenders, pick(size, 1, 3, 7)), 1, "dvc status", "calls")


def outside_work(workspace: Path) -> list[Row]:
    """Seconds that the stages measured for their work, and seconds from the start of the first stage to the report.

    Args:
        workspace: a folder where one `dvc repro` without interruption has built everything.
    """
    from ngldm.pipeline import workspace as paths
    from ngldm.pipeline.config.params import load_params
    from ngldm.pipeline.report.provenance import stage_seconds

    with chdir(workspace):
        stages = stage_seconds(load_params())
        begin = paths.metrics("download").stat().st_mtime - dict(stages)["download"]
        wall = (paths.REPORTS / "index.html").stat().st_mtime - begin
    work: dict[str, float] = {}
    for stage, seconds in stages:
        kind = stage.split("@")[0]
        work[kind] = work.get(kind, 0.0) + seconds
    parts = {**work, "outside the work": wall - sum(work.values())}
    rows = [{"part": part, "seconds": seconds, "share, %": 100.0 * seconds / wall} for part, seconds in parts.items()]
    return [*rows, {"part": "all", "seconds": wall, "share, %": 100.0}]


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
    workspace: Annotated[Path, typer.Option(help="Where dvc repro has run.")] = ROOT,
) -> None:
    results = {"start-up": start_up(size), "nothing to do": nothing_to_do(workspace, size)}
    if (workspace / "reports" / "index.html").is_file():
        results["work"] = outside_work(workspace)
    publish("pipeline", results, out)


if __name__ == "__main__":
    typer.run(main)
