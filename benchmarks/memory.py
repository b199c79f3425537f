"""How the memory of the stages grows with the images of a data set in shards that is not kept as pixels.

python -m benchmarks.memory [--size smallest|small|full] [--out FOLDER] [--figure FILE]

Grey 8x8 images in tar files. Each stage runs in a process of its own, whose peak resident memory the kernel counts.
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.common import Row, pick, publish
from ngldm.pipeline.config.compose import compose_params

ROOT = Path(__file__).parents[1]
SHARD = 10_000  # images in a tar file, at most
DIFFERENT = 1009  # images; to make and compress a million would take longer than the stages
STAGES = {
    "download": ["stages.download"],
    "autoencoder": ["stages.autoencoder"],
    "latents": ["stages.latents", "--device", "cpu"],
    "train": ["stages.train", "--noise", "laplace", "--device", "cpu"],
    "reference": ["stages.reference", "--device", "cpu"],
}


def write_shards(folder: Path, count: int) -> int:
    """Tar files of random images, PNG; returns how many files. The same `DIFFERENT` images come again and again."""
    from PIL import Image

    folder.mkdir()
    rng, shards, contents = np.random.default_rng(0), max(2, -(-count // SHARD)), []
    for image in rng.integers(0, 256, (DIFFERENT, 8, 8), dtype=np.uint8):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        contents.append(file.getvalue())
    for shard, numbers in enumerate(np.array_split(np.arange(count), shards)):
        with tarfile.open(folder / f"train-{shard:04d}.tar", "w") as tar:
            for number in numbers:
                content = contents[number % DIFFERENT]
                info = tarfile.TarInfo(f"{number:08d}.png")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
                tar.members.clear()  # else the list of all members grows
    return shards


def peak_of(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Seconds, and peak resident memory in MiB, of `python -m <arguments>` in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"}
    start = time.perf_counter()
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=folder, env=environment, stdout=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{arguments[0]} failed; see {folder / 'log.txt'}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def stages(count: int, steps: int) -> Row:
    """The peaks of all stages on `count` images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = write_shards(folder / "shards", count)
        (folder / "conf").symlink_to(ROOT / "conf")
        dataset = {"source": "shards", "shards": f"'train-{{0000..{shards - 1:04d}}}.tar'", "size": 8, "channels": 1}
        dataset |= {
            "test_size": min(1000, count // 10),
            "keep_images": min(5000, count // 2),
            "image": "png",
            "label": "null",
        }
        training = {"max_steps": steps, "log_every": 50, "eval_every": steps, "snapshot_every": 0, "batch_size": 128}
        overrides = ["recipe=smoke", "dataset=webdataset", "noises=[laplace]", "latents.dtype=float16"]
        overrides += [f"dataset.{key}={value}" for key, value in dataset.items()]
        overrides += [f"train.{key}={value}" for key, value in training.items()]
        here = Path.cwd()
        os.chdir(ROOT)
        try:
            compose_params(folder / "params.yaml", overrides)
        finally:
            os.chdir(here)
        row: Row = {"images": count, "shards": shards}
        for stage, arguments in STAGES.items():
            seconds, peak = peak_of(arguments, folder)
            row |= {f"{stage}, MiB": peak, f"{stage}, s": seconds}
        row["latents on disk, MiB"] = sum(f.stat().st_size for f in (folder / "data/latents").rglob("*.npy")) / 2**20
        row["shards on disk, MiB"] = sum(f.stat().st_size for f in (folder / "shards").iterdir()) / 2**20
    return row


def draw(rows: list[Row], path: Path) -> None:
    """The peaks by number of images, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure((5.0, 3.0), layout="constrained")
    axes = figure.subplots()
    for stage in STAGES:
        axes.plot([row["images"] for row in rows], [row[f"{stage}, MiB"] for row in rows], "o-", label=stage)
    highest = max(row[f"{stage}, MiB"] for row in rows for stage in STAGES)
    axes.set(xscale="log", ylim=(0, 1.1 * highest), xlabel="training and test images", ylabel="peak memory in MiB")
    axes.legend(ncols=2)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
    figure: Annotated[Path | None, typer.Option(help="File for the curve, PNG.")] = None,
) -> None:
    """Run all stages on each number of images; `full` goes to a million and takes an hour on two busy cores."""
    counts = pick(size, (200,), (1_000, 10_000), (10_000, 100_000, 1_000_000))
    rows = [stages(count, pick(size, 20, 100, 300)) for count in counts]
    publish("memory", {"stages": rows}, out)
    if figure:
        draw(rows, figure)


if __name__ == "__main__":
    typer.run(main)
