"""How time and memory grow with the size of the work, and with which exponent; what breaks first.

python -m benchmarks.growth [--size smallest|small|full] [--out FOLDER]

An exponent of 1 is proportional to the size. It is taken between a size and the one before: ln(ratio of seconds) /
ln(ratio of sizes). Each case has a process of its own at each size, so that its peak memory is its own.
"""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.common import Row, peak_memory_mib, pick, publish
from benchmarks.networks import model_of, ours_like
from benchmarks.scoring import ours as scores_of
from benchmarks.scoring import two_sets
from benchmarks.train_step import ours as training_of
from ngldm.pipeline.report.figures import drawing, plots
from ngldm.pipeline.report.rows import ScoreRow
from ngldm.pipeline.report.table import score_table
from ngldm.sampling.generator import Generator
from ngldm.scoring.distance.frechet import Moments

UNET = {"widths": [16, 16], "blocks_per_level": 1, "attention_levels": [1], "attention_head_dim": 16}
DIM = 2048  # of Inception's features


def latents(count: int) -> Callable[[], object]:
    """20 training steps on latents (count, 2, 4, 4) that stay on the disk."""
    with tempfile.TemporaryFile() as file:  # it stays as long as it is mapped
        array = np.memmap(file, np.float32, "w+", shape=(count, 2, 4, 4))
    for first in range(0, count, 10_000):
        array[first : first + 10_000] = np.random.default_rng(first).normal(size=array[first : first + 10_000].shape)
    return training_of(UNET, torch.from_numpy(array), 20, 32, "fp32")


def images(count: int) -> Callable[[], object]:
    """All scores of 2048 features each of `count` generated and `count` real images."""
    real, made = two_sets(count, min(DIM, 2 * count))
    scores = scores_of(real, made, Moments(real.shape[1]).update(real))
    return lambda: [score() for score in scores.values()]


def rows(count: int) -> Callable[[], object]:
    """The table and the figure of the report for `count` noises with four samplers each."""
    made = [
        ScoreRow(
            **{"noise": f"noise{noise}", "sampler": f"sampler{sampler}", "seeds": "0", "method": "heun"},
            **{"settings": f"heun {10 + sampler} steps", "start_noise": "own", "network_calls": 20 + sampler},
            **{"metric": "fid", "value": 1.0 + noise / count, "spread": 0.1, "kid": 0.5, "precision": 0.5},
            **{"recall": 0.5, "num_samples": 1000, "extractor": "inception"},
            **{"train_seconds": 1.0, "sample_seconds": 1.0},
        )
        for noise in range(count)
        for sampler in range(4)
    ]

    def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            Path(name, "table.md").write_text(score_table(made))
            drawing.save(plots.score_by_calls(made), Path(name), "calls")

    return run


def timesteps(count: int) -> Callable[[], object]:
    """Make a model of T = `count`, and 16 images by ancestral sampling with all its steps."""

    def run() -> None:
        model = model_of(UNET, (1, 8, 8), timesteps=count)
        Generator(model).sample(16, batch_size=16, method="ancestral", num_inference_steps=count)

    return run


def parameters(count: int) -> Callable[[], object]:
    """2 training steps of a U-Net of `count` parameters, batch 8, images of 3x16x16."""
    return training_of(ours_like(count, 3, 3), torch.randn(64, 3, 16, 16), 2, 8, "fp32")


CASES: dict[str, tuple[Callable[[int], Callable[[], object]], tuple[tuple[int, ...], ...]]] = {
    "latents": (latents, ((100, 200), (10_000, 100_000), (10_000, 100_000, 1_000_000))),
    "images scored": (images, ((100, 200), (2000, 4000), (5000, 10_000, 50_000))),
    "noises in a report": (rows, ((2, 4), (10, 40), (10, 30, 100))),
    "timesteps": (timesteps, ((10, 20), (250, 1000), (250, 1000, 4000))),
    "parameters": (parameters, ((500_000, 1_000_000), (1_000_000, 5_000_000), (1_000_000, 10_000_000, 50_000_000))),
}


def one(case: str, count: int) -> None:
    """Print the seconds and the peak memory in MiB of a case, without what makes it ready."""
    run = CASES[case][0](count)
    before, start = peak_memory_mib(), time.perf_counter()
    run()
    print(time.perf_counter() - start, before, peak_memory_mib())


def growth(case: str, size: str) -> list[Row]:
    """A row for each size of a case."""
    found: list[Row] = []
    for count in pick(size, *CASES[case][1]):
        done = subprocess.run(
            [sys.executable, "-c", f"from benchmarks.growth import one; one({case!r}, {count})"],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, before, peak = map(float, done.stdout.split()[-3:])
        row: Row = {case: count, "seconds": seconds, "MiB before": before, "peak MiB": peak, "exponent": ""}
        if found:
            last = found[-1]
            row["exponent"] = math.log(seconds / last["seconds"]) / math.log(count / last[case])
        found.append(row)
    return found


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    publish("growth", {f"by {case}": growth(case, size) for case in CASES}, out)


if __name__ == "__main__":
    typer.run(main)
