"""How time and memory grow with the work: reading image folders, and training by batch size and image size.

python -m benchmarks.scaling [--size smallest|small|full] [--out FOLDER]
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.common import Row, interleaved, pick, publish, summary
from benchmarks.train_step import ours

READ = """
import resource, sys, time
from pathlib import Path
from ngldm.data.sources.registry import make_dataset
config = {"name": "image_folder", "source": sys.argv[1], "size": 32, "channels": 3, "min_side": 2, "seed": 0,
          "on_error": "fail", "test_size": 8, "mirror": None}
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start = time.perf_counter()
make_dataset(config, Path(sys.argv[2]), Path(sys.argv[2]) / "raw", lambda total: lambda count: None)
print(time.perf_counter() - start, base, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def folder_reading(size: str) -> list[Row]:
    """Read JPEGs of 256x256 pixels into 32x32 arrays. Each number of files has a process of its own."""
    from PIL import Image

    rows, generator = [], np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        for count in pick(size, (16, 32), (250, 1000), (1000, 4000, 16000)):
            folder = Path(name) / str(count)
            folder.mkdir()
            image = Image.fromarray(generator.integers(0, 256, (256, 256, 3), dtype=np.uint8))
            for index in range(count):
                image.putpixel((index % 256, index // 256), (0, 0, 0))  # so the files have different contents
                image.save(folder / f"{index}.jpg", quality=75)
            out = Path(name) / f"out-{count}"
            out.mkdir()
            done = subprocess.run(
                [sys.executable, "-c", READ, str(folder), str(out)], capture_output=True, text=True, check=True
            )
            seconds, before, peak = map(float, done.stdout.split()[-3:])
            rows.append(
                {"files": count, "seconds": seconds, "files/s": count / seconds, "MiB before": before, "peak MiB": peak}
            )
    return rows


def training(size: str) -> list[Row]:
    """Training by batch size and image side. images/s should not fall with the batch, nor pixels/s with the side."""
    settings = {"widths": [32, 64], "blocks_per_level": 1, "attention_levels": [1], "attention_head_dim": 32}
    rows = []
    for batch, side in pick(
        size, ((4, 8), (8, 8)), ((32, 8), (128, 8), (32, 16)), ((32, 8), (256, 8), (32, 16), (32, 32))
    ):
        data = torch.randn(512, 3, side, side)
        steps = pick(size, 1, 4, 10)
        (row,) = summary(
            interleaved({"ours": ours(settings, data, steps, batch, "fp32")}, pick(size, 1, 3, 5)),
            steps * batch,
            "ours",
        )
        rows.append(
            {"batch": batch, "side": side, "images/s": row["images/s"], "pixels/s": row["images/s"] * side * side}
        )
    return rows


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    publish("scaling", {"image folders": folder_reading(size), "training": training(size)}, out)


if __name__ == "__main__":
    typer.run(main)
