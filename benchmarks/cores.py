"""The rates of training, feature extraction and encoding beside another busy process.

python -m benchmarks.cores [--size smallest|small|full] [--work "recipe mini"] [--out FOLDER]

A process does one of these works, first on the idle machine, then beside one process that only computes. "as chosen" is
what ngldm does by itself; the others have NGLDM_THREADS. Not part of `python -m benchmarks`: it only means something on
a machine without other work, or with `chrt -f 50` before the idle part.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.common import Row, pick, publish

ROOT = Path(__file__).parents[1]
UNTIMED = 4.0  # seconds: in the first ones it is found out how many cores are free


def steps_per_second(recipe: str, steps: int) -> float:
    """Rate of the training loop in this process, with its choice of threads, after a few steps that are not timed."""
    from benchmarks import laws

    run = laws.trainer(laws.composed(recipe), "Gaussian", steps)
    laws.trainer(laws.composed(recipe), "Gaussian", 2)()
    start = time.perf_counter()
    run()
    return steps / (time.perf_counter() - start)


def images_extracted_per_second(seconds: float) -> float:
    """Rate of Inception's features (weights are random) in batches of 16."""
    from benchmarks.fid import random_inception
    from ngldm.scoring.features.extractor import finite_features
    from ngldm.scoring.features.inception import InceptionExtractor

    with tempfile.TemporaryDirectory() as folder:
        extractor = InceptionExtractor(random_inception(Path(folder)))
    images = _images(16)
    return _rate(lambda: len(finite_features(extractor, images)), seconds)


def images_encoded_per_second(seconds: float) -> float:
    """Rate of encoding images of 32x32 as recipe `cpu` does, in batches of 256."""
    from ngldm.data.cache.latents import encode
    from ngldm.networks.autoencoders.build import build_autoencoder

    settings = {"kind": "kl", "latent_channels": 8, "levels": 2, "width": 32, "kl_weight": 1e-4}
    autoencoder, images = build_autoencoder(settings, (3, 32, 32)).eval(), _images(256)
    return _rate(lambda: len(encode(autoencoder, images, torch.device("cpu"), "of no data set")), seconds)


def _images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def _rate(work: Callable[[], int], seconds: float) -> float:
    """What `work` does, in a second; it does some and says how much. Before that it runs for a while untimed."""
    begin = time.perf_counter()
    while time.perf_counter() < begin + min(UNTIMED, seconds):
        work()
    start, done = time.perf_counter(), 0
    while (now := time.perf_counter()) < start + seconds:
        done += work()
    return done / (now - start)


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


def measured(work: str, variables: Mapping[str, str]) -> float:
    """The rate that a call of one of the functions here finds, in a process with these variables, and no others that
    set threads.
    """
    clean = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "NGLDM_THREADS")}
    environment = {**clean, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", f"from benchmarks import cores; print(cores.{work})"]
    said = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(said.stdout.splitlines()[-1])


def compare(size: str, work: str, unit: str) -> list[Row]:
    """A row for each choice of threads: the rate alone and beside a busy process, and the part that is left."""
    cores = str(os.cpu_count() or 1)
    choices: dict[str, dict[str, str]] = {"as chosen": {}}
    if size != "smallest":  # each choice needs two processes, which import torch
        choices |= {"1 thread": {"NGLDM_THREADS": "1"}, f"{cores} threads": {"NGLDM_THREADS": cores}}
    idle = {name: measured(work, variables) for name, variables in choices.items()}
    best = max(idle.values())
    with busy(1):
        beside = {name: measured(work, variables) for name, variables in choices.items()}
    return [
        {
            "threads": name,
            f"{unit}/s": idle[name],
            f"{unit}/s beside one busy process": beside[name],
            "% of the best idle rate": 100.0 * beside[name] / best,
        }
        for name in choices
    ]


def works(size: str) -> dict[str, tuple[str, str]]:
    """What is measured: by name the call, and the unit of its rate."""
    recipes = pick(size, {"smoke": 2}, {"mini": 60, "cpu": 60}, {"mini": 450, "cpu": 120})
    seconds = pick(size, 0.01, 8.0, 12.0)
    return {
        **{
            f"recipe {recipe}": (f"steps_per_second({recipe!r}, {steps})", "steps") for recipe, steps in recipes.items()
        },
        "features": (f"images_extracted_per_second({seconds})", "images"),
        "latents": (f"images_encoded_per_second({seconds})", "images"),
    }


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    work: Annotated[list[str] | None, typer.Option(help="Only this: recipe ..., features, latents.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    known = works(size)
    for name in work or []:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}")
    chosen = {name: call for name, call in known.items() if not work or name in work}
    publish("cores", {name: compare(size, *call) for name, call in chosen.items()}, out)
    print(json.dumps({"cores": os.cpu_count(), "threads of torch": torch.get_num_threads()}))


if __name__ == "__main__":
    typer.run(main)
