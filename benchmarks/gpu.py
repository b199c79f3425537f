"""Training, sampling and scoring on a GPU at the size of recipe `best`: images/s, share of the matmul rate, diffusers.

python -m benchmarks.gpu [--size smallest|small|full] [--out FOLDER] [--minutes M]

It runs in parts of a few minutes. With --out each is written when it ends, and the same command goes on with the next.
It also runs without a GPU; `smallest` is for that.
"""

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import scoring
from benchmarks.common import Row, bf16_is_fast, interleaved, parameters, peak_mib, pick, publish, summary
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
    """Images/s of 20 calls of the U-Net of `training`, ours and diffusers' DDIM, in float32 unless a row says bf16."""
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
    if size == "smallest" or bf16_is_fast():
        generators["ours, bf16"], _ = Generator(copy.deepcopy(model)).computing("bf16", "channels_last", count)
    if size != "smallest":
        generators["ours, compiled"] = Generator(model.compiled())
    contenders: dict[str, Callable[[], Any]] = {name: (lambda g=g: sample(g)) for name, g in generators.items()}
    contenders["diffusers"] = lambda: pipeline(batch_size=count, num_inference_steps=steps, output_type="np")
    return summary(interleaved(contenders, pick(size, 1, 3, 5)), count, "ours")


def scores(size: str) -> list[Row]:
    """Seconds and memory of the scores of features that lie on the device."""
    return scoring.scores(pick(size, 100, 10_000, 50_000), pick(size, 64, 2048, 2048), False, DEVICE)


PARTS: dict[str, Callable[[str, float], list[Row]]] = {
    "training": training,
    "sampling": lambda size, rate: sampling(size),
    "scoring": lambda size, rate: scores(size),
}


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON; parts that it has are not run again.")] = None,
    minutes: Annotated[float, typer.Option(min=0.0, help="After so many no further part is begun.")] = 40.0,
) -> None:
    start, file = time.perf_counter(), None if out is None else out / "gpu.json"
    results: dict[str, list[Row]] = json.loads(file.read_text())["results"] if file and file.is_file() else {}
    rate = 0.0
    for name, part in PARTS.items():
        if name in results:
            continue
        if time.perf_counter() - start >= 60.0 * minutes:
            print(f"gpu: {minutes:g} minutes are over; the same command goes on with: {name}")
            return
        rate = rate or matmul_rate(size)
        begun = time.perf_counter()
        results[name] = part(size, rate)
        row: Row = {"part": name, "bf16 matmul, TFLOP/s": rate / 1e12, "seconds": time.perf_counter() - begun}
        results["machine"] = [*results.get("machine", []), row]
        publish("gpu", results, out)


if __name__ == "__main__":
    typer.run(main)
