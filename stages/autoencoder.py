"""Stage `autoencoder`: train the autoencoder, which turns images into latents and back."""

from pathlib import Path
from typing import cast

import torch

from ngldm.data.dataset import open_dataset
from ngldm.data.results.history import write_history
from ngldm.io import processes
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.files import write_json
from ngldm.io.images import save_png
from ngldm.io.items import noun
from ngldm.io.tensors import to_tensor
from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.build import (
    build_autoencoder,
    reconstruction_picture,
    reconstruction_psnr,
    save_autoencoder,
)
from ngldm.pipeline import workspace
from ngldm.pipeline.checkpoints import resumable
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.own_network import own_autoencoder
from ngldm.pipeline.terminal import Device, command, duration, follow, summary
from ngldm.training.checkpoints.decisive import decisive
from ngldm.training.ema import EMA
from ngldm.training.loop import Report, fit
from ngldm.training.seeds import stream_seed
from ngldm.training.task import Split, Task


def autoencoder(device: Device = "auto") -> None:
    """Train the autoencoder on the training items. Measure how well it reconstructs the test items."""
    params = load_params()
    target = resolve_device(device)
    be_deterministic()
    data, config = open_dataset(workspace.DATASET), params.autoencoder
    kind = {**config.settings(), **data.encoding}
    torch.manual_seed(stream_seed(params.seed, "autoencoder"))
    model = build_autoencoder(kind, data.item_shape)
    settings = {**kind, "seed": params.seed, "fit": decisive(config.fit.model_dump())}
    behind = made_from(settings, [workspace.DATASET / "dataset.json"], Path(__file__)) | own_autoencoder(config.kind)
    reports: list[Report] = []
    with resumable("autoencoder", "autoencoder", behind, config.fit.eval_every) as checkpointer:
        if any(parameter.requires_grad for parameter in model.parameters()):  # not of `identity` and `diffusers`
            ema = EMA(model, config.fit.ema_decay)
            task = Task(
                lambda net, batch, generator, part=None: cast(Autoencoder, net).loss(batch, generator, part),
                Split(len(data.train), lambda index: to_tensor(data.train[index])),
                heldout=Split(len(data.test), lambda index: to_tensor(data.test[index])),
            )
            training = fit(model, ema, task, config.fit, seed=params.seed, device=target, checkpointer=checkpointer)
            reports = follow("autoencoder", config.fit.max_steps, training, "autoencoder.fit")
            model = ema.model.to("cpu")
        if not processes.is_main():
            return
        seconds = checkpointer.seconds()
        save_autoencoder(model, workspace.AUTOENCODER)
        write_history(reports, workspace.AUTOENCODER_PLOT)
        measured, batch_size = (model.to(target), config.fit.batch_size) if model.pretrained else (model, 256)
        save_png(reconstruction_picture(measured, data.test), workspace.RECONSTRUCTIONS)
        psnr = reconstruction_psnr(measured, data.test, batch_size)
        found = {"weights_sha256": model.weights_sha256} if model.weights_sha256 else {}
        write_json(workspace.metrics("autoencoder"), {"psnr_db": psnr, "seconds": seconds, **found})
    content = {
        "PSNR in dB": psnr,
        f"test {noun(data.test)}": len(data.test),
        "time": duration(seconds),
        "file": workspace.AUTOENCODER,
        **found,
    }
    summary(f"autoencoder {config.kind}", content)


main = command(autoencoder, many=True)
if __name__ == "__main__":
    main()
