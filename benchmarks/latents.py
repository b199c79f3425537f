"""Training on kept latents compared with encoding at each step; memory-mapped compared with in memory.

python -m benchmarks.latents [--size smallest|small|full] [--out FOLDER]
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.common import Row, interleaved, pick, publish, summary
from benchmarks.networks import model_of
from benchmarks.train_step import config
from ngldm.io.tensors import to_float
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Split, Task

UNET = {"widths": [24, 48], "blocks_per_level": 1, "attention_levels": [1], "attention_head_dim": 48}


def compare(size: str, cifar: bool) -> list[Row]:
    """With the sizes of recipe `mini` (8x8 digits, 4x4x2 latents) or of `cpu` (32x32 images, 8x8x8 latents)."""
    batch, steps = pick(size, 8, 64, 128), pick(size, 1, 8, 25)
    shape, settings = (
        ((3, 32, 32), {"kind": "kl", "latent_channels": 8, "levels": 2, "width": 32, "kl_weight": 1e-4})
        if cifar
        else ((1, 8, 8), {"kind": "kl", "latent_channels": 2, "levels": 1, "width": 32, "kl_weight": 1e-4})
    )
    autoencoder = build_autoencoder(settings, shape).eval()
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (1500, *shape[1:], shape[0]), dtype=np.uint8)
    unet = UNET if not cifar else {**UNET, "widths": [64, 128], "attention_head_dim": 32}
    latents = generator.normal(size=(1500, *autoencoder.latent_shape)).astype(np.float32)
    model = model_of(unet, autoencoder.latent_shape)
    ema = EMA(model.network, 0.995)

    @torch.no_grad()
    def encoded(index: Any) -> torch.Tensor:
        return autoencoder.encode(to_float(images[index]))

    def training(fetch: Any) -> Any:
        def run() -> None:
            task = Task(model.diffusion.loss, Split(1500, fetch))
            for _ in fit(model.network, ema, task, config(steps, batch, "fp32"), seed=0):
                pass

        return run

    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "latents.npy", latents)
        mapped = np.load(Path(folder) / "latents.npy", mmap_mode="r")
        contenders = {
            "cached, memory-mapped": training(lambda index: torch.from_numpy(mapped[index])),
            "cached, in memory": training(lambda index: torch.from_numpy(latents[index])),
            "encoded at each step": training(encoded),
            "encoding alone": lambda: [encoded(np.arange(batch)) for _ in range(steps)],
        }
        return summary(interleaved(contenders, pick(size, 1, 5, 7)), steps * batch, "cached, memory-mapped")


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    publish("latents", {"digits": compare(size, False), "CIFAR-10's shapes": compare(size, True)}, out)


if __name__ == "__main__":
    typer.run(main)
