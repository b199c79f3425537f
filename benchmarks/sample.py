"""Images per second: ours and diffusers' pipelines, with equal parameters and calls, and at an equal score.

python -m benchmarks.sample [--size smallest|small|full] [--out FOLDER]
"""

import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.common import Row, bf16_is_fast, interleaved, parameters, pick, publish, summary
from benchmarks.networks import diffusers_unet, model_of, ours_like
from ngldm.sampling.generator import Generator, load
from ngldm.scoring.distance.scorer import open_scorer


def against_diffusers(size: str) -> list[Row]:
    from diffusers import DDIMPipeline, DDIMScheduler

    shape, count, steps = (3, 8, 8), pick(size, 4, 100, 1000), pick(size, 2, 10, 20)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peer = diffusers_unet(shape, pick(size, (32, 64), (64, 128), (64, 128))).eval().to(device)
    settings = ours_like(parameters(peer), shape[0])
    model = model_of(settings, shape).to(device)
    model.network.eval()
    pipeline = DDIMPipeline(peer, DDIMScheduler(1000))
    pipeline.set_progress_bar_config(disable=True)

    def ours(generator: Generator, steps: int = steps) -> Any:
        return generator.sample(count, batch_size=count, method="ddim", num_inference_steps=steps)

    def theirs() -> Any:
        return pipeline(batch_size=count, num_inference_steps=steps, output_type="np")

    plain, compiled, start = Generator(model), Generator(model.compiled()), time.perf_counter()
    contenders: dict[str, Callable[[], Any]] = {"ours": lambda: ours(plain), "diffusers": theirs}
    if size == "smallest" or bf16_is_fast():
        fast, _ = Generator(copy.deepcopy(model)).computing("bf16", "contiguous", count)
        half = torch.autocast(device, torch.bfloat16)  # the pipeline cannot make images of bfloat16 weights
        contenders |= {"ours, bf16": lambda: ours(fast), "diffusers, bf16": half(theirs)}
    try:
        ours(compiled, 1)
        contenders["ours, compiled"] = lambda: ours(compiled)
    except RuntimeError as error:  # there is no C++ compiler, or there are no headers of Python
        print(f"left out, cannot compile here: {str(error).splitlines()[0]}")
    compilation = time.perf_counter() - start
    rows = summary(interleaved(contenders, pick(size, 1, 5, 7)), count * steps, "ours", "image steps")
    for row in rows:
        network = peer if row["contender"].startswith("diffusers") else model.network
        row |= {"parameters": parameters(network), "seconds per call": row["seconds"] / steps}
        row["seconds to compile"] = compilation if row["contender"] == "ours, compiled" else 0.0
    return rows


CALLS = (5, 10, 15, 20, 25)


def equal_score(workspace: Path, size: str) -> list[Row]:
    """The fewest calls with which each noise's best sampler scores as well as ancestral sampling with all steps.

    Args:
        workspace: a folder where `dvc repro` has run; its models and its reference are used.
    """
    count, rows = pick(size, 32, 1000, 1000), []
    scorer = open_scorer(workspace / "data" / "reference", count)

    def made(generator: Generator, **options: Any) -> tuple[float, float]:
        start = time.perf_counter()
        images = generator.sample(count, batch_size=250, **options)
        return time.perf_counter() - start, scorer.distance(scorer.features(images, 250))

    for path in sorted((workspace / "models").glob("*/model.safetensors")):
        generator = load(path, "cpu")
        steps = generator.model.diffusion.schedule.num_train_timesteps
        slow, goal = made(generator, method="ancestral", num_inference_steps=steps)
        row: Row = {"noise": path.parent.name, "ancestral steps": steps, "ancestral": goal, "ancestral s": slow}
        for calls in CALLS:
            seconds, score = made(generator, num_inference_steps=min(calls, steps))
            row[f"{calls} calls"] = score
            if score <= goal and "fewest calls" not in row:
                row |= {"fewest calls": calls, "s": seconds, "times faster": slow / seconds}
        rows.append({**dict.fromkeys(("fewest calls", "s", "times faster"), ""), **row})
    return rows


def same_weights(workspace: Path, size: str) -> list[Row]:
    """The Gaussian model in our pipeline with diffusers' DDIM and its 50 steps, and how few of our calls score as well.

    Args:
        workspace: as in `equal_score`.
    """
    from diffusers import DDIMScheduler

    from ngldm.interop.diffusers import Pipeline

    count, batch, steps = *pick(size, (32, 32), (1000, 250), (1000, 250)), pick(size, 5, 50, 50)
    scorer = open_scorer(workspace / "data" / "reference", count)
    generator = load(workspace / "models" / "gaussian" / "model.safetensors", "cpu")
    pipeline = Pipeline.of(generator.model, method="ddim")
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)

    def theirs() -> Any:
        parts = (
            pipeline(batch_size=batch, seed=0, first=first, num_inference_steps=steps, output_type="np").images
            for first in range(0, count, batch)
        )
        return np.concatenate([(255.0 * part).round().astype(np.uint8) for part in parts])

    def row(name: str, calls: int, make: Callable[[], Any]) -> Row:
        start = time.perf_counter()
        images = make()
        seconds = time.perf_counter() - start
        score = scorer.distance(scorer.features(images, batch))
        return {"contender": name, "calls": calls, "score": score, "seconds": seconds, "images/s": count / seconds}

    rows = [row("diffusers' DDIM", steps, theirs)]
    for calls in CALLS:
        made = partial(generator.sample, count, batch_size=batch, num_inference_steps=calls)
        rows.append(row("ours", calls, made))
        if rows[-1]["score"] <= rows[0]["score"]:
            break
    return rows


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
    workspace: Annotated[Path, typer.Option(help="Where dvc repro has run, for the equal score.")] = Path(),
) -> None:
    results = {"against diffusers": against_diffusers(size)}
    if (workspace / "data" / "reference" / "classifier.safetensors").is_file():
        results["equal score"] = equal_score(workspace, size)
        results["equal score, same weights"] = same_weights(workspace, size)
    publish("sample", results, out)


if __name__ == "__main__":
    typer.run(main)
