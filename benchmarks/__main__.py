"""`python -m benchmarks` runs all benchmarks. The size `small` takes less than 20 minutes on two cores."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks import (
    breakdown,
    fid,
    growth,
    latents,
    laws,
    memory,
    pipeline,
    sample,
    scaling,
    scoring,
    time_to_score,
    train_step,
)
from benchmarks.common import machine


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path, typer.Option(help="Folder for the JSON files.")] = Path("benchmarks/results"),
) -> None:
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    networks = (train_step, laws, sample, breakdown, time_to_score)
    for benchmark in (*networks, fid, scoring, latents, scaling, growth, pipeline, memory):
        benchmark.main(size, out)


typer.run(main)
