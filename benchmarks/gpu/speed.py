"""Training, sampling and scoring on a GPU: images/s, share of the rate of matrix products, memory, diffusers.

Without a GPU all of it runs too; size `smallest` is for that, and compiles nothing.
"""

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import scoring
from benchmarks.common import Row, bf16_is_fast, interleaved, parameters, peak_mib, pick, summary
from benchmarks.networks import diffusers_unet, model_of, ours_like, recipe_model
from benchmarks.train_step import DEVICE, config, diffusers_loop, loop
from ngldm.model import Model
from ngldm.pipeline.config.params import Params
from ngldm.sampling.generator import Generator
from ngldm.training import gradients
from ngldm.training.ema import EMA
from ngldm.training.loop import Report, fit
from ngldm.training.machine.feed import Ahead, Direct, Resident
from ngldm.training.task import Split, Task

# How batches come to the device, whatever `ngldm.training.machine.feed.feed` would choose.
FEEDS: dict[str, Callable[..., Callable[[int], Tensor]]] = {
    "latents on the device": Resident,
    "read a step ahead": lambda indices, fetch, rows, device: Ahead(indices, fetch, device),
    "read in the step": lambda indices, fetch, rows, device: Direct(indices, fetch, device),
}


@dataclass(frozen=True)
class Setting:
    """What the parts need to know.

    Attributes:
        size: of the benchmark.
        params: of the recipe whose network is measured.
        rate: FLOP/s of a matrix product in bfloat16.
    """

    size: str
    params: Params
    rate: float

    @property
    def steps(self) -> int:
        """Of a training that is timed."""
        return int(pick(self.size, 1, 20, 50))

    @property
    def repeats(self) -> int:
        return int(pick(self.size, 1, 5, 7))

    def compiling(self) -> AbstractContextManager[Any]:
        """Within it `torch.compile` compiles, but at size `smallest`: that takes a minute on a CPU."""
        return torch.compiler.set_stance("force_eager") if self.size == "smallest" else nullcontext()


def matmul_rate(size: str) -> float:
    """FLOP/s of a square matrix product in bfloat16 on random data: the median of ten."""
    side = pick(size, 256, 8192, 8192)
    a, b = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    seconds = interleaved({"matmul": lambda: a @ b}, 10)["matmul"]
    return 2.0 * side**3 / sorted(seconds)[5]


def step_flop(network: nn.Module, shape: tuple[int, ...], batch: int) -> int:
    """Floating point operations of one training step: forward and backward, as torch counts them."""
    counter = FlopCounterMode(display=False)
    with counter:
        out = network(torch.randn(batch, *shape, device=DEVICE), torch.full((batch,), 0.5, device=DEVICE))
        getattr(out, "sample", out).square().mean().backward()
    network.zero_grad()
    return int(counter.get_total_flops())


def timed(setting: Setting, runs: Mapping[str, Callable[[], Any]], flops: Mapping[str, int], batch: int) -> list[Row]:
    """A row for each training: images/s, memory, and the share of the rate of matrix products.

    Args:
        runs: name to `setting.steps` steps; the first is compared with.
        flops: name to the operations of a step.
        batch: images of a step.
    """
    rows = summary(interleaved(runs, setting.repeats), batch * setting.steps, next(iter(runs)))
    for row in rows:
        row["peak MiB"] = peak_mib(runs[row["contender"]])
        row["% of matmul rate"] = 100.0 * flops[row["contender"]] * setting.steps / row["seconds"] / setting.rate
    return rows


def equal_networks(size: str) -> tuple[Model, nn.Module]:
    """A model of ours with a U-Net that has as many parameters as one of diffusers, and that one; on the device."""
    shape, widths = pick(size, ((4, 8, 8), (32, 64)), ((4, 16, 16), (128, 256)), ((4, 16, 16), (128, 256)))
    peer = diffusers_unet(shape, widths).to(DEVICE)
    return model_of(ours_like(parameters(peer), shape[0]), shape).to(DEVICE), peer


def latents(count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def training(setting: Setting, compiled: bool = False) -> list[Row]:
    """Our loop and that of diffusers' example, each in bfloat16 and float32; or ours, plain and compiled."""
    mine, peer = equal_networks(setting.size)
    shape, batch, steps = mine.item_shape, pick(setting.size, 8, 256, 512), setting.steps
    data = latents(16 * batch, shape)
    own, theirs = step_flop(mine.network, shape, batch), step_flop(peer, shape, batch)
    runs: dict[str, Callable[[], Any]] = {"ours, bf16": loop(mine, data, steps, batch, "bf16")}
    if compiled:
        runs["ours, bf16, compiled"] = loop(mine, data, steps, batch, "bf16", compiled=True)
    else:
        runs["diffusers, bf16"] = diffusers_loop(peer, data, steps, batch, "bf16")
        runs["ours, fp32"] = loop(mine, data, steps, batch, "fp32")
        runs["diffusers, fp32"] = diffusers_loop(peer, data, steps, batch, "fp32")
    with setting.compiling():
        return timed(setting, runs, {name: theirs if name.startswith("diffusers") else own for name in runs}, batch)


def best_training(setting: Setting, compiled: bool = False) -> list[Row]:
    """Our loop with the network, the batch and the first noise of the recipe, on random latents of its shape."""
    params, steps, batch = setting.params, setting.steps, setting.params.train.batch_size
    model = recipe_model(params, params.noise_arguments(params.noises[0])).to(DEVICE)
    flop, data = step_flop(model.network, model.item_shape, batch), latents(16 * batch, model.item_shape)
    runs: dict[str, Callable[[], Any]] = {"bf16": loop(model, data, steps, batch, "bf16")}
    if compiled:
        runs["bf16, compiled"] = loop(model, data, steps, batch, "bf16", compiled=True)
    else:
        runs["fp32"] = loop(model, data, steps, batch, "fp32")
        for precision in ("bf16", "fp32"):
            runs[f"{precision}, fastest kernels"] = loop(model, data, steps, batch, precision, fastest=True)
    with setting.compiling():
        return timed(setting, runs, dict.fromkeys(runs, flop), batch)


def feeding(setting: Setting) -> list[Row]:
    """The same step in bfloat16, with each way of bringing batches to the device."""
    params, steps, batch = setting.params, setting.steps, setting.params.train.batch_size
    model = recipe_model(params, params.noise_arguments(params.noises[0])).to(DEVICE)
    flop, data = step_flop(model.network, model.item_shape, batch), latents(16 * batch, model.item_shape)
    run = loop(model, data, steps, batch, "bf16")

    def fed_by(feed: Callable[..., Any]) -> None:
        with patch.object(gradients, "feed", feed):
            run()

    return timed(
        setting, {name: partial(fed_by, feed) for name, feed in FEEDS.items()}, dict.fromkeys(FEEDS, flop), batch
    )


def memory(setting: Setting) -> list[Row]:
    """In how many parts `accumulate_steps: null` takes the recipe's batch and larger ones, and what two steps need."""
    params, rows = setting.params, []
    model = recipe_model(params, params.noise_arguments(params.noises[0])).to(DEVICE)
    for times in pick(setting.size, (1, 2), (1, 8, 64), (1, 8, 64)):
        batch, reports = times * params.train.batch_size, list[Report]()
        task, ema = Task(model.diffusion.loss, Split.of(latents(batch, model.item_shape))), EMA(model.network, 0.995)
        chosen = replace(config(2, batch, "bf16"), accumulate_steps=None)
        training = fit(model.network, ema, task, chosen, seed=0, device=DEVICE)
        _, seconds, peak = scoring.measured(partial(reports.extend, training))
        rows.append({"batch": batch, "parts": reports[-1].parts, "peak MiB": peak, "seconds with the trials": seconds})
    return rows


def sampling(setting: Setting, compiled: bool = False) -> list[Row]:
    """Images/s of 20 calls of the U-Net of `training`, in float32 unless a row says bf16; diffusers' DDIM beside."""
    from diffusers import DDIMPipeline, DDIMScheduler

    count, steps = pick(setting.size, (4, 2), (512, 20), (1024, 20))
    model, peer = equal_networks(setting.size)
    model.network.eval()

    def sample(generator: Generator) -> Any:
        return generator.sample(count, batch_size=count, method="ddim", num_inference_steps=steps)

    runs: dict[str, Callable[[], Any]] = {"ours": partial(sample, Generator(model))}
    if compiled:
        runs["ours, compiled"] = partial(sample, Generator(model.compiled()))
    else:
        if setting.size == "smallest" or bf16_is_fast():
            fast, _ = Generator(copy.deepcopy(model)).computing("bf16", "channels_last", count)
            runs["ours, bf16"] = partial(sample, fast)
        pipeline = DDIMPipeline(peer.eval(), DDIMScheduler(1000))
        pipeline.set_progress_bar_config(disable=True)
        runs["diffusers"] = lambda: pipeline(batch_size=count, num_inference_steps=steps, output_type="np")
    with setting.compiling():
        return summary(interleaved(runs, pick(setting.size, 1, 3, 5)), count, "ours")


def scores(setting: Setting) -> list[Row]:
    """Seconds and memory of the scores of features that lie on the device."""
    count, dim = pick(setting.size, (100, 64), (10_000, 2048), (50_000, 2048))
    return scoring.scores(count, dim, False, DEVICE)


PARTS: dict[str, Callable[[Setting], list[Row]]] = {
    "training": training,
    "training, compiled": partial(training, compiled=True),
    "training of best": best_training,
    "training of best, compiled": partial(best_training, compiled=True),
    "feeding of best": feeding,
    "memory of best": memory,
    "sampling": sampling,
    "sampling, compiled": partial(sampling, compiled=True),
    "scoring": scores,
}
