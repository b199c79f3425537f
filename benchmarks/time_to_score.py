"""Processor time until the images are good: ours, and the training loops of diffusers and lucidrains.

A run trains a contender for some steps with one learning rate and one seed, and then scores its images: the Frechet
distance of the workspace's reference. All learning rates fall to 0 over a run's steps, where the contender's own recipe
has them fall, so runs of other lengths are other trainings. Time is that of training alone, of all cores; sampling and
scoring do not count, nor does the autoencoder, which ours and "our latents" need once.

The data, the latents, our network and its settings are those of a folder in which the stages before `train` have run.
Each finished run is a line of <out>/time_to_score.jsonl, and is not run again: so the work can be cut into pieces.

python -m benchmarks.time_to_score [--workspace FOLDER] [--out FOLDER] [--minutes M] [--only NAME=LR,LR] [--steps N,N]
    [--seeds N,N]
"""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.common import Row, parameters, pick, publish
from benchmarks.networks import diffusers_unet, lucidrains_unet
from benchmarks.train_step import DEVICE, diffusers_loop, lucidrains_loop
from ngldm.data.cache.latents import open_cache
from ngldm.data.dataset import open_dataset
from ngldm.io.tensors import to_tensor, to_uint8
from ngldm.model import Model, item_settings
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.models import fresh_model, training_task
from ngldm.pipeline.experiments.study.compute import train_model
from ngldm.sampling.generator import Generator
from ngldm.scoring.distance.scorer import open_scorer

Images = NDArray[np.uint8]
BATCH = 250  # images of a call of a network in sampling
CALLS = 20  # of the network for an image, of the peers


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Attributes:
        seconds: of all cores; with a GPU, on the clock.
        images: made from a number of images.
        network: that was trained.
    """

    seconds: float
    images: Callable[[int], Iterable[Images]]
    network: nn.Module


@dataclass(frozen=True)
class Work:
    """A folder in which the stages before `train` have run."""

    folder: Path

    @cached_property
    def params(self) -> Any:
        return load_params(self.folder / "params.yaml")

    @cached_property
    def pixels(self) -> Tensor:
        return to_tensor(np.asarray(open_dataset(self.folder / "data" / "dataset").train))

    @cached_property
    def latents(self) -> Tensor:
        return torch.from_numpy(np.array(open_cache(self.folder / "data" / "latents").train))

    def model(self, seed: int) -> Model:
        """Ours, with an untrained network, for the first noise of params.yaml."""
        data = open_dataset(self.folder / "data" / "dataset")
        settings = {
            "noise": self.params.noise_arguments(self.params.noises[0]),
            "schedule": self.params.schedule.model_dump(),
            "diffusion": self.params.diffusion.model_dump(),
            **item_settings(data.item_shape, **self.params.networks()),
        }
        cache = open_cache(self.folder / "data" / "latents")
        autoencoder = self.folder / "models" / "autoencoder.safetensors"
        return fresh_model(settings, seed, data, cache, autoencoder).to(DEVICE)

    def score(self, trained: Trained, count: int) -> float:
        scorer = open_scorer(self.folder / "data" / "reference", count, device=DEVICE)
        return scorer.distance(part for images in trained.images(count) for part in scorer.features(images, BATCH))


def clocked(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, of all cores or, with a GPU, on the clock; and what it returned."""
    if DEVICE == "cpu":
        start = time.process_time()
        result = action()
        return time.process_time() - start, result
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = action()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def ours(work: Work, lr: float, steps: int, seed: int, optimizer: str = "adamw", precision: str = "fp32") -> Trained:
    """`fit` with the workspace's settings."""
    model, data = work.model(seed), open_dataset(work.folder / "data" / "dataset")
    task = training_task(model, data, open_cache(work.folder / "data" / "latents"))
    warmup = min(work.params.train.warmup_steps, steps // 4)
    changed = {"lr": lr, "max_steps": steps, "warmup_steps": warmup, "optimizer": optimizer, "precision": precision}
    config = work.params.train.model_copy(update=changed)
    seconds, _ = clocked(lambda: train_model(model, task, config, seed, DEVICE))
    return Trained(seconds, lambda count: Generator(model).batches(count, batch_size=BATCH), model.network)


def like_ours(work: Work, make: Callable[..., nn.Module], widths: Iterable[tuple[int, ...]], seed: int) -> nn.Module:
    """The peer's network whose number of parameters is nearest to that of ours; torch's generator then has the seed."""
    target = parameters(work.model(0).network)

    def size(sides: tuple[int, ...]) -> int:
        with torch.device("meta"):
            return parameters(make(*sides))

    nearest = min(widths, key=lambda sides: abs(size(sides) - target))
    torch.manual_seed(seed)  # the networks before have used the generator
    return make(*nearest)


def in_batches(count: int, make: Callable[[int], Tensor], decode: Callable[[Tensor], Images]) -> Iterable[Images]:
    """Images of a peer."""
    for first in range(0, count, BATCH):
        with torch.inference_mode():
            yield decode(make(min(BATCH, count - first)))


class FromOne(nn.Module):
    """diffusers' network for our loss and samplers, whose timesteps begin at 1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.network(x, t - 1).sample
        return out


def diffusers(work: Work, lr: float, steps: int, seed: int, latents: bool = False, mine: bool = False) -> Trained:
    """diffusers' example: linear betas, eps; sampled with DPM-Solver++. `mine`: our betas, objective and sampler."""
    from diffusers import DPMSolverMultistepScheduler

    data, model = work.latents if latents else work.pixels, work.model(seed)
    shape, generator = tuple(data.shape[1:]), torch.Generator(DEVICE).manual_seed(seed)
    widths = [(first, last) for first in range(16, 65, 16) for last in range(first, 129, 16)]
    network = like_ours(work, lambda *pair: diffusers_unet(shape, pair), widths, seed)

    def our_loss(peer: nn.Module, x: Tensor) -> Tensor:
        loss: Tensor = model.diffusion.loss(FromOne(peer), x, generator).mean()
        return loss

    batch = work.params.train.batch_size
    run = diffusers_loop(network, data, steps, batch, lr=lr, loss_of=our_loss if mine else None)
    seconds, ema = clocked(run)
    ema.copy_to(network.parameters())
    network.eval()

    def make(count: int) -> Tensor:
        scheduler = DPMSolverMultistepScheduler(1000)  # the betas of DDPMScheduler(1000)
        scheduler.set_timesteps(CALLS)
        x = torch.randn(count, *shape, device=DEVICE)
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
        return x

    if mine:
        model = replace(model, network=FromOne(network))
        return Trained(seconds, lambda count: Generator(model).batches(count, batch_size=BATCH), network)
    decode = model.decode if latents else (lambda x: to_uint8(x.cpu()))
    return Trained(seconds, lambda count: in_batches(count, make, decode), network)


def lucidrains(work: Work, lr: float, steps: int, seed: int) -> Trained:
    """lucidrains' Trainer: its betas (sigmoid), v, Adam with a constant rate; sampled with its DDIM."""
    shape = tuple(work.pixels.shape[1:])
    network = like_ours(work, partial(lucidrains_unet, shape), [(dim,) for dim in range(8, 129, 8)], seed)
    batch = work.params.train.batch_size
    run = lucidrains_loop(network, work.pixels, steps, batch, lr, "pred_v", CALLS)
    seconds, averaged = clocked(run)
    averaged.eval()
    return Trained(
        seconds,
        lambda count: in_batches(count, lambda size: averaged.sample(batch_size=size), lambda x: to_uint8(x.cpu())),
        network,
    )


CONTENDERS: dict[str, tuple[Callable[..., Trained], tuple[float, ...]]] = {
    "ours": (ours, (2e-3, 3e-3, 5e-3)),
    "ours, auto": (partial(ours, precision="auto"), (2e-3, 3e-3, 5e-3)),
    "ours, muon": (partial(ours, optimizer="muon"), (3e-3, 6e-3, 1.2e-2)),
    "ours, muon, auto": (partial(ours, optimizer="muon", precision="auto"), (3e-3, 6e-3, 1.2e-2)),
    "diffusers": (diffusers, (3e-4, 1e-3, 3e-3)),
    "diffusers, our latents": (partial(diffusers, latents=True), (3e-4, 1e-3, 3e-3)),
    "diffusers, our latents, betas, objective": (partial(diffusers, latents=True, mine=True), (3e-4, 1e-3, 3e-3)),
    "lucidrains": (lucidrains, (3e-4, 1e-3, 3e-3)),
}


def finish(work: Work, file: Path, runs: Sequence[Row], count: int, until: float) -> list[Row]:
    """All runs of the file, with those that are not in it yet appended; none begins after `until` (perf_counter)."""
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for run in runs:
        if any(run.items() <= row.items() for row in done) or time.perf_counter() > until:
            continue
        train = CONTENDERS[run["contender"]][0]
        trained = train(work, run["lr"], run["steps"], run["seed"])
        row = {
            **run,
            "images": run["steps"] * work.params.train.batch_size,
            "parameters": parameters(trained.network),
            "seconds": trained.seconds,
            "score": work.score(trained, count),
        }
        with file.open("a") as lines:
            print(json.dumps(row), file=lines)
        done.append(row)
    return done


def summary(done: Sequence[Row]) -> list[Row]:
    """A row for each data set, contender and length: the learning rate with the best median score over the seeds."""
    groups: dict[tuple[Any, ...], dict[float, list[Row]]] = {}
    for row in done:
        key = (row["data"], row["contender"], row["steps"])
        groups.setdefault(key, {}).setdefault(row["lr"], []).append(row)
    rows = []
    for (data, contender, steps), rates in sorted(groups.items()):
        most = max(len(found) for found in rates.values())
        full = {lr: found for lr, found in rates.items() if len(found) == most}
        lr, found = min(full.items(), key=lambda item: statistics.median(row["score"] for row in item[1]))
        scores = [row["score"] for row in found]
        rows.append(
            {
                "data": data,
                "contender": contender,
                "parameters": found[0]["parameters"],
                "steps": steps,
                "images": found[0]["images"],
                "seconds": statistics.median(row["seconds"] for row in found),
                "rates tried": ", ".join(f"{rate:g}" for rate in sorted(rates)),
                "best": lr,
                "seeds": len(found),
                "score": statistics.median(scores),
                "lowest": min(scores),
                "highest": max(scores),
            }
        )
    return rows


def draw(rows: Sequence[Row], path: Path) -> None:
    """Score against seconds, a panel for each data set, a curve for each contender, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    sets = sorted({row["data"] for row in rows})
    figure = Figure((4.8 * len(sets), 4.6), layout="constrained")
    shown = {}
    for axes, data in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        for index, contender in enumerate(CONTENDERS):
            mine = [row for row in rows if (row["data"], row["contender"]) == (data, contender)]
            seconds, scores = [row["seconds"] for row in mine], np.array([row["score"] for row in mine])
            if mine:
                spread = [scores - [row["lowest"] for row in mine], [row["highest"] for row in mine] - scores]
                shown[contender] = axes.errorbar(seconds, scores, spread, fmt="o-", capsize=3, color=f"C{index}")
        axes.set(xscale="log", yscale="log", title=data, xlabel="seconds of training", ylabel="Frechet distance")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3, which="both")
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=110)


def chosen(only: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Contenders with their learning rates, from NAME or NAME=LR,LR; all if nothing is given."""
    if not only:
        return {name: rates for name, (_, rates) in CONTENDERS.items()}
    pairs = [one.partition("=") for one in only]
    return {
        name: tuple(float(rate) for rate in rates.split(",")) if rates else CONTENDERS[name][1]
        for name, _, rates in pairs
    }


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(number) for number in text.split(",") if number]


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path, typer.Option(help="Folder for the runs and the JSON.")] = Path("benchmarks/results"),
    workspace: Annotated[Path, typer.Option(help="Where the stages before train have run.")] = Path(),
    minutes: Annotated[float, typer.Option(help="No run begins later.")] = 1e9,
    only: Annotated[list[str] | None, typer.Option(help="Contender, or contender=lr,lr; can be repeated.")] = None,
    steps: Annotated[str, typer.Option(help="Lengths of the trainings; by default by size.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds of the trainings; by default by size.")] = "",
    figure: Annotated[Path | None, typer.Option(help="File for the curves, PNG.")] = None,
) -> None:
    if not (workspace / "data" / "reference").is_dir():
        print(f"time_to_score: left out, {workspace.resolve()} has no data/reference; see --workspace")
        return
    work, until = Work(workspace), time.perf_counter() + 60 * minutes
    lengths = numbers(steps) or pick(size, (2,), (225, 450), (150, 450, 1350))
    out.mkdir(parents=True, exist_ok=True)
    kinds = [(name, lr) for name, rates in chosen(only or ()).items() for lr in rates[: pick(size, 1, None, None)]]
    runs = [
        {"data": work.params.dataset.name, "contender": name, "lr": lr, "steps": length, "seed": seed}
        for seed, length, (name, lr) in product(numbers(seeds) or range(pick(size, 1, 3, 3)), lengths, kinds)
    ]
    done = finish(work, out / "time_to_score.jsonl", runs, pick(size, 32, 1000, 1000), until)
    rows = summary(done)
    publish("time_to_score", {"best learning rates": rows}, out)
    if figure:
        draw(rows, figure)


if __name__ == "__main__":
    typer.run(main)
