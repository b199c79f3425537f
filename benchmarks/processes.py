"""Training on several processes: speed, efficiency, what is sent, and whether the weights are those of one process.

python -m benchmarks.processes [--size smallest|small|full] [--out FOLDER]

Each number of processes trains with the same global batch. The last row has two agents: two calls of torchrun for two
machines, which here are one, and meet at a port of it. Not part of `python -m benchmarks`: on two cores it only shows
what the processes cost each other.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.common import Row, pick, publish
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io import processes
from ngldm.io.tensors import load_tensors, save_tensors
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.noise import make_noise
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Split, Task

BATCH = 96  # of all processes together; 1, 2, 3 and 4 processes divide it
RUNS = {"1": (1, 1), "2": (1, 2), "3": (1, 3), "2 agents x 1": (2, 1)}  # label to agents, and processes of each


def work(steps: int, out: Path) -> None:
    """Train as one of the processes that the environment names. The main one writes weights and figures."""
    torch.set_num_threads(1)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        processes.start(120.0)
    sent: list[tuple[int, float]] = []  # bytes and seconds of each message
    total = processes.total

    def timed(values: Tensor) -> Tensor:
        start = time.perf_counter()
        found = total(values)
        sent.append((values.nbytes, time.perf_counter() - start))
        return found

    processes.total = timed  # type: ignore[assignment]
    data = torch.randn(1500, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    network = UNet(2, UNetSettings((24, 48), 1, (1,), 48), 1000)
    diffusion = Diffusion.make(make_noise("laplace"), make_schedule("cosine", 1000), objective="x0")
    ema = EMA(network, 0.99)
    config = FitConfig(steps, BATCH, warmup_steps=10, log_every=max(1, steps // 2), eval_every=steps)
    *_, last = fit(network, ema, Task(diffusion.loss, Split.of(data)), config, seed=0)
    half = sent[len(sent) // 2 :] or [(0, 0.0)]
    if processes.is_main():
        figures = {"rate": last.images_per_second, "bytes": half[0][0], "wait": sum(s for _, s in half) / len(half)}
        save_tensors(dict(ema.model.state_dict()), figures, out)


def measure(agents: int, each: int, steps: int, out: Path) -> Row:
    """The figures of one run: its rate in images/s, the bytes of a message, the seconds in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={agents}", f"--nproc-per-node={each}"]
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={place}", "--rdzv-id=benchmark", "--local-addr=127.0.0.1"]
    command = [*launcher, *meeting, "-m", "benchmarks.processes", "--steps", str(steps), "--out", str(out)]
    running = [subprocess.Popen(command) for _ in range(agents)]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"a process of {agents} x {each} failed")
    return dict(load_tensors(out)[1])


def compare(size: str) -> list[Row]:
    steps = pick(size, 4, 100, 400)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for label, (agents, each) in RUNS.items():
            out = Path(name) / f"{label}.safetensors"
            found, count = measure(agents, each, steps, out), agents * each
            one, own = (load_tensors(path)[0] for path in (Path(name) / "1.safetensors", out))
            apart = max(float((one[key] - own[key]).norm() / one[key].norm()) for key in one)
            first = rows[0]["images/s"] if rows else found["rate"]
            row = {"processes": label, "images/s": found["rate"], "efficiency": found["rate"] / (count * first)}
            sent = {"bytes per step": found["bytes"], "seconds per step in it": found["wait"]}
            rows.append({**row, **sent, "largest relative difference of a weight": apart})
    return rows


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
    steps: Annotated[int, typer.Option(help="For a process of a run: its steps. 0 starts the runs.")] = 0,
) -> None:
    if steps and out:
        work(steps, out)
    else:
        publish("processes", {"training": compare(size)}, out)
        print(json.dumps({"cores": os.cpu_count()}))


if __name__ == "__main__":
    typer.run(main)
