"""The time of the pipeline besides its work: starts and imports of stages, a `dvc repro` that has nothing to do.

python -m benchmarks.pipeline [--size smallest|small|full] [--workspace FOLDER] [--out FOLDER]
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import chdir
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import Row, interleaved, pick, publish, summary

ROOT = Path(__file__).parents[1]
LARGEST = 5  # packages of a stage that are named
IMPORTED = re.compile(r"import time: +(\d+) \| +\d+ \| +(\w+)", re.MULTILINE)


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


def imports(workspace: Path, size: str, code: Path = ROOT) -> list[Row]:
    """What stages import from their start to their end: seconds in all, and of the largest packages of others.

    Each stage runs once in a process of its own, in a copy of the workspace; "--help" is that of `train`. Seconds of a
    package are those of its own modules, by `python -X importtime`.

    Args:
        workspace: where the pipeline has run, best with recipe `smoke`, as the stages do their work again.
        code: folder of the code, of this version or of another.
    """
    from ngldm.pipeline.config.params import load_params
    from ngldm.pipeline.workspace import STAGES

    with chdir(workspace):
        params = load_params()
    label, sampler = params.training_labels[0], params.samplers[0]
    arguments = {
        "train": ["--noise", label],
        "sample": ["--noise", label, "--sampler", sampler],
        "evaluate": ["--noise", label],
    }
    commands = {"--help": ["train", "--help"], **{name: [name, *arguments.get(name, [])] for name in STAGES}}
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(workspace, Path(folder) / "copy", ignore=shutil.ignore_patterns("cache", ".venv"))
        names = pick(size, ["--help", "latents"], list(commands), list(commands))
        return [{"stage": name, **_imports(commands[name], copy, code)} for name in names]


def _imports(stage: list[str], folder: Path, code: Path) -> Row:
    """The row of one stage."""
    environment = {**os.environ, "PYTHONPATH": str(code), "NGLDM_WARM": "0"}
    command = [sys.executable, "-X", "importtime", "-m", f"stages.{stage[0]}", *stage[1:]]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    seconds: Counter[str] = Counter()
    for microseconds, package in IMPORTED.findall(done.stderr):
        seconds[package] += int(microseconds) / 1e6
    others = {name: own for name, own in seconds.items() if name not in sys.stdlib_module_names}
    ours = sum(others.pop(name, 0.0) for name in ("ngldm", "stages"))
    largest = ", ".join(f"{name} {own:.2f}" for name, own in Counter(others).most_common(LARGEST))
    return {
        "modules": done.stderr.count("import time:") - 1,
        "seconds": seconds.total(),
        "ours": ours,
        "largest": largest,
    }


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
        results["imports"] = imports(workspace, size)
    publish("pipeline", results, out)


if __name__ == "__main__":
    typer.run(main)
