"""Images per second in training: the loops of ours, diffusers and lucidrains with equal parameters; the paper's loop.

python -m benchmarks.train_step [--size smallest|small|full] [--out FOLDER]
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from torch import nn

from benchmarks.common import Row, bf16_is_fast, interleaved, parameters, peak_mib, pick, publish, summary
from benchmarks.networks import PlainUNet, diffusers_unet, lucidrains_unet, model_of, ours_like
from ngldm.model import Model
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Split, Task

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def config(steps: int, batch: int, precision: str, compiled: bool = False) -> FitConfig:
    """Settings of our loop, as in the recipes."""
    return FitConfig(
        max_steps=steps,
        batch_size=batch,
        warmup_steps=0,
        lr_schedule="constant",
        ema_decay=0.995,
        precision=precision,
        compile=compiled,
        eval_every=10**9,
        # As `train.precision: auto` chooses on CPUs that compute in bfloat16.
        layout="contiguous" if precision == "bf16" and DEVICE == "cpu" else "channels_last",
    )


def ours(
    settings: dict[str, Any], data: torch.Tensor, steps: int, batch: int, precision: str, compiled: bool = False
) -> Callable[[], None]:
    """`loop` of a U-Net with these settings, for the noise and schedule of `model_of`."""
    return loop(model_of(settings, tuple(data.shape[1:])).to(DEVICE), data, steps, batch, precision, compiled)


def loop(
    model: Model,
    data: torch.Tensor,
    steps: int,
    batch: int,
    precision: str,
    compiled: bool = False,
    fastest: bool = False,
) -> Callable[[], None]:
    """`ngldm.training.loop.fit`: EMA, clipping, warm-up, seeds of each step. The model is on the device.

    Args:
        fastest: let a GPU take its fastest kernels.
    """
    ema = EMA(model.network, 0.995)
    task = Task(model.diffusion.loss, Split(len(data), lambda index: data[index]))
    settings = replace(config(steps, batch, precision, compiled), deterministic=not fastest)

    def run() -> None:
        for _ in fit(model.network, ema, task, settings, seed=0, device=DEVICE):
            pass

    return run


def batches(data: torch.Tensor, steps: int, batch: int) -> Any:
    """`steps` full batches of a shuffled DataLoader."""
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), batch_size=batch, shuffle=True)
    done = 0
    while done < steps:
        for (x,) in loader:
            if len(x) < batch or done == steps:
                break
            done += 1
            yield x.to(DEVICE)


def diffusers_loop(
    model: nn.Module,
    data: torch.Tensor,
    steps: int,
    batch: int,
    precision: str = "fp32",
    lr: float = 1e-4,
    loss_of: Callable[[nn.Module, torch.Tensor], torch.Tensor] | None = None,
) -> Callable[[], Any]:
    """The loop of diffusers' unconditional training example: DDPMScheduler, AdamW, cosine, clipping, EMAModel.

    Args:
        loss_of: the loss of the network and a batch; None is the example's, of the noise that DDPM's betas add.

    Returns:
        A run, which returns the EMAModel.
    """
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_cosine_schedule_with_warmup
    from diffusers.training_utils import EMAModel

    model.to(DEVICE).train()
    scheduler = DDPMScheduler(1000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.95, 0.999), weight_decay=1e-6)

    def examples_loss(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        noise = torch.randn_like(x)
        t = torch.randint(0, 1000, (len(x),), device=x.device)
        return nn.functional.mse_loss(network(scheduler.add_noise(x, noise, t), t).sample.float(), noise)

    def run() -> Any:
        ema = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, power=0.75)
        rates = get_cosine_schedule_with_warmup(optimizer, min(500, steps // 5), steps)
        for x in batches(data, steps, batch):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = (loss_of or examples_loss)(model, x)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rates.step()
            optimizer.zero_grad()
            ema.step(model.parameters())
        return ema

    return run


def lucidrains_loop(
    model: nn.Module,
    data: torch.Tensor,
    steps: int,
    batch: int,
    lr: float = 1e-4,
    objective: str = "pred_noise",
    calls: int | None = None,
    precision: str = "fp32",
) -> Callable[[], Any]:
    """The loop of lucidrains' Trainer: GaussianDiffusion, Adam, clipping, EMA every ten steps.

    Args:
        calls: of the network for an image, by DDIM; None is 1000, by DDPM.

    Returns:
        A run, which returns the averaged GaussianDiffusion.
    """
    from denoising_diffusion_pytorch import GaussianDiffusion
    from ema_pytorch import EMA as PeersEMA

    diffusion = GaussianDiffusion(
        model,
        image_size=data.shape[-1],
        timesteps=1000,
        objective=objective,
        auto_normalize=False,
        sampling_timesteps=calls,
    ).to(DEVICE)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=lr, betas=(0.9, 0.99))
    ema = PeersEMA(diffusion, beta=0.995, update_every=10)

    def run() -> Any:
        for x in batches(data, steps, batch):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = diffusion(x)
            loss.backward()
            nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            ema.update()
        return ema.ema_model

    return run


class Images(torch.utils.data.Dataset):
    """uint8 images with the usual transforms, item by item."""

    def __init__(self, images: torch.Tensor) -> None:
        from torchvision import transforms

        self.images = images.permute(0, 2, 3, 1).numpy()
        self.transform = transforms.Compose(
            [transforms.ToPILImage(), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        item: torch.Tensor = self.transform(self.images[index])
        return item


def papers_loop(model: PlainUNet, encoder: Any, images: torch.Tensor, steps: int, batch: int) -> Callable[[], None]:
    """The paper's loop: a DataLoader with transforms item by item, the encoder at each step, float32, no EMA."""
    loader = torch.utils.data.DataLoader(Images(images), batch_size=batch, shuffle=True, drop_last=True)
    model.to(DEVICE)
    encoder.to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0).to(DEVICE)

    def run() -> None:
        done = 0
        while done < steps:
            for x in loader:
                with torch.no_grad():
                    latent = encoder.encode(x.to(DEVICE))
                t = torch.randint(0, 1000, (batch,), device=DEVICE)
                noise = torch.randn_like(latent)
                a = abar[t][:, None, None, None]
                loss = nn.functional.mse_loss(model(a.sqrt() * latent + (1 - a).sqrt() * noise, t), noise)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                if done == steps:
                    return

    return run


@dataclass
class Comparison:
    """Loops that are compared. The first is ours.

    Attributes:
        images: number of images that one run trains on.
        contenders: name to a run.
        parameters: name to the number of parameters of the network.
    """

    images: int
    contenders: dict[str, Callable[[], None]] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, run: Callable[[], None], count: int) -> None:
        self.contenders[name], self.parameters[name] = run, count

    def rows(self, repeats: int) -> list[Row]:
        """Speed, peak memory and parameters of each."""
        rows = summary(interleaved(self.contenders, repeats), self.images, next(iter(self.contenders)))
        for row, (name, run) in zip(rows, self.contenders.items(), strict=True):
            row |= {"peak MiB": peak_mib(run), "parameters": self.parameters[name]}
        return [{key.split(" than")[0]: value for key, value in row.items()} for row in rows]


def peers(peer: str, size: str) -> Comparison:
    """Our loop and that of "diffusers" or "lucidrains", with equal data, parameters and precision; bf16 if fast."""
    shape, batch, steps = (8, 8, 8), pick(size, 8, 64, 128), pick(size, 1, 5, 20)
    data = torch.randn(pick(size, 64, 1024, 4096), *shape, generator=torch.Generator().manual_seed(0))
    width = pick(size, 32, 64, 64)
    theirs = diffusers_unet(shape, (width, 2 * width)) if peer == "diffusers" else lucidrains_unet(shape, width)
    result, count = Comparison(steps * batch), parameters(theirs)
    precisions = ("fp32", "bf16") if bf16_is_fast() else ("fp32",)
    for name, first in (("ours", None), ("ours, half as wide first level", width // 2)):
        settings = ours_like(count, shape[0], first_width=first)
        size_of_ours = parameters(model_of(settings, shape).network)
        for precision in precisions:
            result.add(f"{name}, {precision}", ours(settings, data, steps, batch, precision), size_of_ours)
    for precision in precisions:
        if peer == "diffusers":
            run = diffusers_loop(theirs, data, steps, batch, precision)
        else:
            run = lucidrains_loop(theirs, data, steps, batch, precision=precision)
        result.add(f"{peer}, {precision}", run, count)
    return result


def paper(size: str) -> Comparison:
    """With CIFAR-10's shapes: 32x32x3 images, 24x24x3 latents of the `paper` autoencoder, batch 10, three levels."""
    from ngldm.networks.autoencoders.build import build_autoencoder

    batch, steps = 10, pick(size, 1, 4, 10)
    settings = {"kind": "paper", "latent_channels": 3, "latent_size": 24, "width": pick(size, 8, 64, 64)}
    encoder = build_autoencoder(settings, (3, 32, 32)).eval()
    images = torch.randint(0, 256, (200, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = PlainUNet(3, 32)
    mine = ours_like(parameters(plain), 3, levels=3, blocks_per_level=1)
    result = Comparison(steps * batch)
    run = ours(mine, torch.randn(200, 3, 24, 24), steps, batch, "fp32")
    result.add("ours", run, parameters(model_of(mine, (3, 24, 24)).network))
    result.add("the paper's loop", papers_loop(plain, encoder, images, steps, batch), parameters(plain))
    return result


COMPARISONS: dict[str, Callable[[str], Comparison]] = {
    "diffusers": partial(peers, "diffusers"),
    "lucidrains": partial(peers, "lucidrains"),
    "the paper": paper,
}


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    repeats = pick(size, 1, 5, 7)
    # All loops have the same threads. Ours then also spares the trial step by which it would choose their number.
    with patch.dict(os.environ, {"NGLDM_THREADS": str(torch.get_num_threads())}):
        results = {f"against {name}": build(size).rows(repeats) for name, build in COMPARISONS.items()}
    publish("train_step", results, out)


if __name__ == "__main__":
    typer.run(main)
