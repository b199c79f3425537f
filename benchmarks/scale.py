"""What ImageNet-1k at 256 x 256 and 10^9 images would cost: arithmetic from measured rates, for docs/scale.md.

python -m benchmarks.scale [--out FOLDER]

Nothing is timed here. The networks' parameters and operations are counted on torch's device `meta`; the rates are those
of docs/performance.md and `python -m benchmarks.reading`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import Row, parameters, publish
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.networks.unet import UNet, UNetSettings

COUNTS = {"ImageNet-1k": 1_281_167, "10^8": 10**8, "10^9": 10**9}  # training images
IMAGE, LATENT, FEATURES = 256 * 256 * 3, 4 * 32 * 32 * 4, 2048 * 4  # bytes: uint8, float32, Inception's in float32
UNET = UNetSettings((192, 384, 576, 960), 2, (1, 2, 3), 64)
AUTOENCODER = {"kind": "kl", "latent_channels": 4, "levels": 3, "width": 128, "kl_weight": 1e-6}
MATMUL, REACHED, HOPED = 770.7e12, 0.07996, 0.4  # FLOP/s of an H200, the share our small network reached, the goal
JPEGS = 684.0  # files/s, one process
PASSES = {"check that all are finite": 5997, "SHA-256": 687.9, "mean and range at each position": 264.1}  # MiB/s
MD5, NETWORK = 248.9, 1.25e9  # MiB/s; bytes/s of 10 Gbit/s
BATCH, BUDGETS = 256, {"400 000 steps of 256": 1.024e8, "7 000 000 steps of 256": 1.792e9, "each of 10^9 once": 1e9}


def networks() -> list[Row]:
    """Parameters, and operations for one image."""
    with torch.device("meta"):
        unet, autoencoder = UNet(4, UNET), build_autoencoder(AUTOENCODER, (3, 256, 256))
        image, latent, t = torch.randn(1, 3, 256, 256), torch.randn(1, 4, 32, 32), torch.full((1,), 0.5)
    works: dict[str, tuple[torch.nn.Module, Callable[[], object]]] = {
        "U-Net, one call": (unet, lambda: unet(latent, t)),
        "U-Net, training step": (unet, lambda: unet(latent, t).sum().backward()),
        "autoencoder, encode": (autoencoder, lambda: autoencoder.encode(image)),
        "autoencoder, decode": (autoencoder, lambda: autoencoder.decode(latent)),
    }
    rows: list[Row] = []
    for name, (network, work) in works.items():
        counter = FlopCounterMode(display=False)
        with counter:
            work()
        count = parameters(network) / 1e6
        rows.append({"work": name, "10^6 parameters": count, "GFLOP per image": counter.get_total_flops() / 1e9})
    return rows


def data(encode: float) -> list[Row]:
    """Disk, network and time of the stages before a training, by the number of images."""
    rows: list[Row] = []
    quantities: dict[str, Callable[[int], float]] = {
        "pixels (uint8), TB": lambda n: n * IMAGE / 1e12,
        "latents (float32), TB": lambda n: n * LATENT / 1e12,
        "pixels over 10 Gbit/s, h": lambda n: n * IMAGE / NETWORK / 3600,
        "latents over 10 Gbit/s, h": lambda n: n * LATENT / NETWORK / 3600,
        "read JPEGs, one process, h": lambda n: n / JPEGS / 3600,
        "MD5 of the pixels (DVC), h": lambda n: n * IMAGE / 2**20 / MD5 / 3600,
        "encode, GPU-h at 8 %": lambda n: n * encode / (REACHED * MATMUL) / 3600,
        "features in memory (`reference`), GB": lambda n: 2 * n * FEATURES / 1e9,
        "order of an epoch, GB per process": lambda n: 8 * n / 1e9,
        **{f"{name}, h": (lambda n, rate=rate: n * LATENT / 2**20 / rate / 3600) for name, rate in PASSES.items()},
    }
    for name, quantity in quantities.items():
        rows.append({"quantity": name, **{label: quantity(count) for label, count in COUNTS.items()}})
    return rows


def gpu_hours(step: float) -> list[Row]:
    """GPU-hours of one noise, by the images that its training sees."""
    return [
        {
            "training": name,
            "images": images,
            **{f"GPU-h at {share:.0%}": images * step / (share * MATMUL) / 3600 for share in (REACHED, HOPED)},
        }
        for name, images in BUDGETS.items()
    ]


def traffic(count: float) -> list[Row]:
    """What a step or a checkpoint moves, and what a GPU must hold, for a network of `count` parameters."""
    per_parameter = {
        "gradients, each process, each step": 4,
        "averaged weights (EMA): memory traffic of the GPU, each step": 12,
        "AdamW: memory traffic of the GPU, each step": 28,
        "a checkpoint: weights, EMA, two moments": 16,
        "a model file": 4,
        "each GPU holds weights, EMA, gradients, their message, two moments": 24,
    }
    return [{"what": name, "bytes per parameter": n, "GB": count * n / 1e9} for name, n in per_parameter.items()]


def steps(step: float) -> list[Row]:
    """Milliseconds that the operations of a step of `BATCH` images take, by the number of GPUs."""
    return [
        {
            "GPUs": gpus,
            "images for each": BATCH // gpus,
            **{f"ms at {share:.0%}": 1000 * BATCH / gpus * step / (share * MATMUL) for share in (REACHED, HOPED)},
        }
        for gpus in (1, 8, 16)
    ]


def main(out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None) -> None:
    publish("scale", tables(), out)


def tables() -> dict[str, list[Row]]:
    counted = networks()
    by_work = {row["work"]: row["GFLOP per image"] * 1e9 for row in counted}
    step = by_work["U-Net, training step"]
    return {
        "networks": counted,
        "data": data(by_work["autoencoder, encode"]),
        "GPU-hours": gpu_hours(step),
        "traffic": traffic(counted[0]["10^6 parameters"] * 1e6),
        "step": steps(step),
    }


if __name__ == "__main__":
    typer.run(main)
