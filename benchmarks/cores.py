"""The training rate beside another busy process.

python -m benchmarks.cores [--size smallest|small|full] [--out FOLDER]

A process trains the network of a recipe, first on the idle machine, then beside one process that only computes. "as
chosen" is what a training does by itself; the others have NGLDM_THREADS. Not part of `python -m benchmarks`: it only
means something on a machine without other work, or with `chrt -f 50` before the idle part.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.common import Row, pick, publish

ROOT = Path(__file__).parents[1]
WORK = "import sys; from benchmarks.cores import steps_per_second as rate; print(rate(sys.argv[1], int(sys.argv[2])))"


def steps_per_second(recipe: str, steps: int) -> float:
    """Rate of the training loop in this process, with its choice of threads, after a few steps that are not timed."""
    from benchmarks import laws

    run = laws.trainer(laws.composed(recipe), "Gaussian", steps)
    laws.trainer(laws.composed(recipe), "Gaussian", 2)()
    start = time.perf_counter()
    run()
    return steps / (time.perf_counter() - start)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Have processes that compute all the time."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measured(recipe: str, steps: int, variables: Mapping[str, str]) -> float:
    """`steps_per_second` in a process with these variables, and no others that set threads."""
    clean = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "NGLDM_THREADS")}
    environment = {**clean, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", WORK, recipe, str(steps)]
    said = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(said.stdout.splitlines()[-1])


def compare(recipe: str, steps: int) -> list[Row]:
    """A row for each choice of threads: steps per second alone and beside a busy process, and the part that is left."""
    cores = str(os.cpu_count() or 1)
    choices = {"as chosen": {}, "1 thread": {"NGLDM_THREADS": "1"}, f"{cores} threads": {"NGLDM_THREADS": cores}}
    idle = {name: measured(recipe, steps, variables) for name, variables in choices.items()}
    best = max(idle.values())
    with busy(1):
        beside = {name: measured(recipe, steps, variables) for name, variables in choices.items()}
    return [
        {
            "threads": name,
            "steps/s": idle[name],
            "steps/s beside one busy process": beside[name],
            "% of the best idle rate": 100.0 * beside[name] / best,
        }
        for name in choices
    ]


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    recipes = pick(size, {"smoke": 2}, {"mini": 60, "cpu": 60}, {"mini": 450, "cpu": 120})
    publish("cores", {f"recipe {recipe}": compare(recipe, steps) for recipe, steps in recipes.items()}, out)
    print(json.dumps({"cores": os.cpu_count(), "threads of torch": torch.get_num_threads()}))


if __name__ == "__main__":
    typer.run(main)
