"""Training and sampling on a GPU at the size of recipe `best`: images/s, share of the matmul rate, beside diffusers.

python -m benchmarks.gpu [--size smallest|small|full] [--out FOLDER]

It also runs without a GPU; `smallest` is for that.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import Row, interleaved, parameters, peak_mib, pick, publish, summary
from benchmarks.networks import diffusers_unet, model_of, ours_like
from benchmarks.train_step import DEVICE, diffusers_loop, ours
from ngldm.sampling.generator import Generator


def matmul_rate(size: str) -> float:
    """FLOP/s of a square matrix product in bfloat16 on random data: the median of ten."""
    side = pick(size, 256, 8192, 8192)
    a, b = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    seconds = interleaved({"matmul": lambda: a @ b}, 10)["matmul"]
    return 2.0 * side**3 / sorted(seconds)[5]


def step_flop(settings: dict[str, Any], shape: tuple[int, int, int], batch: int) -> int:
    """Floating point operations of one training step: forward and backward, as torch counts them."""
    model = model_of(settings, shape).to(DEVICE)
    counter = FlopCounterMode(display=False)
    with counter:
        x = torch.randn(batch, *shape, device=DEVICE)
        model.network(x, torch.full((batch,), 0.5, device=DEVICE)).square().mean().backward()
    return int(counter.get_total_flops())


def training(size: str, rate: float) -> list[Row]:
    """Our loop, plain and compiled, and that of diffusers' example, each in float32 and bfloat16."""
    shape, widths = pick(size, (4, 8, 8), (4, 16, 16), (4, 16, 16)), pick(size, (32, 64), (128, 256), (128, 256))
    batch, steps = pick(size, 8, 256, 512), pick(size, 1, 20, 50)
    peer = diffusers_unet(shape, widths)
    settings = ours_like(parameters(peer), shape[0])
    flop = step_flop(settings, shape, batch)
    data = torch.randn(pick(size, 64, 4096, 8192), *shape, generator=torch.Generator().manual_seed(0))
    contenders: dict[str, Callable[[], None]] = {}
    for precision in ("bf16", "fp32"):
        contenders[f"ours, {precision}"] = ours(settings, data, steps, batch, precision)
        contenders[f"diffusers, {precision}"] = diffusers_loop(peer, data, steps, batch, precision)
    if size != "smallest":
        contenders["ours, bf16, compiled"] = ours(settings, data, steps, batch, "bf16", compiled=True)
    rows = summary(interleaved(contenders, pick(size, 1, 5, 7)), batch * steps, "ours, bf16")
    for row in rows:
        row["peak MiB"] = peak_mib(contenders[row["contender"]])
        if row["contender"].startswith("ours"):
            row["% of matmul rate"] = 100.0 * flop * steps / row["seconds"] / rate
        else:
            row["% of matmul rate"] = ""
    return rows


def sampling(size: str) -> list[Row]:
    """Images/s of 20 calls of the U-Net of `training`, ours and diffusers' DDIM, in float32."""
    from diffusers import DDIMPipeline, DDIMScheduler

    shape, widths = pick(size, (4, 8, 8), (4, 16, 16), (4, 16, 16)), pick(size, (32, 64), (128, 256), (128, 256))
    count, steps = pick(size, 4, 512, 1024), pick(size, 2, 20, 20)
    peer = diffusers_unet(shape, widths).eval().to(DEVICE)
    model = model_of(ours_like(parameters(peer), shape[0]), shape).to(DEVICE)
    model.network.eval()
    pipeline = DDIMPipeline(peer, DDIMScheduler(1000))
    pipeline.set_progress_bar_config(disable=True)

    def sample(generator: Generator) -> Any:
        return generator.sample(count, batch_size=count, method="ddim", num_inference_steps=steps)

    generators = {"ours": Generator(model)}
    if size != "smallest":
        generators["ours, compiled"] = Generator(model.compiled())
    contenders: dict[str, Callable[[], Any]] = {name: (lambda g=g: sample(g)) for name, g in generators.items()}
    contenders["diffusers"] = lambda: pipeline(batch_size=count, num_inference_steps=steps, output_type="np")
    return summary(interleaved(contenders, pick(size, 1, 3, 5)), count, "ours")


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    start, rate = time.perf_counter(), matmul_rate(size)
    results = {"training": training(size, rate), "sampling": sampling(size)}
    results["machine"] = [{"bf16 matmul, TFLOP/s": rate / 1e12, "seconds in all": time.perf_counter() - start}]
    publish("gpu", results, out)


if __name__ == "__main__":
    typer.run(main)
