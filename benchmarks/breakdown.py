"""The share of each operation in the time of a training step and of a Frechet distance, by torch's profiler.

python -m benchmarks.breakdown [--size smallest|small|full] [--out FOLDER]
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.common import Row, pick, publish
from benchmarks.fid import two_gaussians
from benchmarks.train_step import COMPARISONS
from ngldm.scoring.distance.frechet import frechet_distance

SHOWN = 12


def shares(run: Callable[[], Any]) -> dict[str, float]:
    """Operation to its share of the time of all operations, without the operations that it calls. On the GPU if any."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    run()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        run()
    kind = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {event.key: float(getattr(event, kind)) for event in profiler.key_averages()}
    total = sum(times.values())
    return {name: time / total for name, time in times.items()}


def breakdown(contenders: Mapping[str, Callable[[], Any]]) -> list[Row]:
    """A row per operation and a column per contender, in percent. The largest come first; the last row is the rest."""
    columns = {name: shares(run) for name, run in contenders.items()}
    operations = sorted(
        {name for column in columns.values() for name in column},
        key=lambda name: -max(column.get(name, 0.0) for column in columns.values()),
    )
    rows = [
        {"operation": operation.removeprefix("aten::")}
        | {f"{name}, %": 100.0 * column.get(operation, 0.0) for name, column in columns.items()}
        for operation in operations[:SHOWN]
    ]
    rest = {key: 100.0 - sum(row[key] for row in rows) for key in rows[0] if key != "operation"}
    return [*rows, {"operation": "all others", **rest}]


def distance(size: str) -> list[Row]:
    first, second = two_gaussians(pick(size, 128, 2048, 2048))
    return breakdown({"ours": lambda: frechet_distance(first.mean, first.cov, second.mean, second.cov)})


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    steps = {f"training, {name}": breakdown(build(size).contenders) for name, build in COMPARISONS.items()}
    publish("breakdown", {**steps, "Frechet distance": distance(size)}, out)


if __name__ == "__main__":
    typer.run(main)
