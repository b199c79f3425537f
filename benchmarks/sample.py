"""Seconds per network call while sampling: ours against diffusers' pipeline, equal parameters, the same DDIM steps.

python -m benchmarks.sample [--size smallest|small|full] [--out FOLDER]
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.common import Row, interleaved, parameters, pick, publish, summary
from benchmarks.networks import bundle_of, diffusers_unet, ours_like
from ngldm.generate import generate


def against_diffusers(size: str) -> list[Row]:
    from diffusers import DDIMPipeline, DDIMScheduler

    shape, count, steps = (3, 8, 8), pick(size, 4, 100, 1000), pick(size, 2, 10, 20)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peer = diffusers_unet(shape, pick(size, (32, 64), (64, 128), (64, 128))).eval().to(device)
    settings = ours_like(parameters(peer), shape[0])
    bundle = bundle_of(settings, shape).to(device)
    bundle.unet.eval()
    pipeline = DDIMPipeline(peer, DDIMScheduler(1000))
    pipeline.set_progress_bar_config(disable=True)
    contenders = {
        "ours": lambda: generate(bundle, count, method="ddim", num_inference_steps=steps),
        "diffusers": lambda: pipeline(batch_size=count, num_inference_steps=steps, output_type="np"),
    }
    rows = summary(interleaved(contenders, pick(size, 1, 5, 7)), count * steps, "ours", "image steps")
    for row, model in zip(rows, (bundle.unet, peer), strict=True):
        row |= {"parameters": parameters(model), "seconds per call": row["seconds"] / steps}
    return rows


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    publish("sample", {"against diffusers": against_diffusers(size)}, out)


if __name__ == "__main__":
    typer.run(main)
