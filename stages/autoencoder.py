"""Stage `autoencoder`: train the autoencoder that gives the latents."""

import time
from pathlib import Path

from ngldm.data.history import write_history
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.pipeline import workspace
from ngldm.pipeline.checkpoints import resumable
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import Device, command, duration, fit_with_progress, summary


def autoencoder(device: Device = "auto") -> None:
    """Train the autoencoder on the training images; report its reconstruction on the test images."""
    params = load_params()
    from ngldm.data.dataset import open_dataset
    from ngldm.io.files import write_json
    from ngldm.io.tensors import to_float
    from ngldm.networks.autoencoders.build import build_autoencoder, reconstruction_psnr, save_autoencoder
    from ngldm.training.checkpoint import decisive
    from ngldm.training.ema import EMA
    from ngldm.training.loop import Report, Split
    from ngldm.training.seeds import stream_seed

    target = resolve_device(device)
    be_deterministic()
    import torch

    data, config = open_dataset(workspace.DATASET), params.autoencoder
    torch.manual_seed(stream_seed(params.seed, "autoencoder"))
    model = build_autoencoder(config.model_dump(exclude={"fit"}), data.image_shape)
    ema = EMA(model, config.fit.ema_decay)
    settings = {**config.model_dump(exclude={"fit"}), "seed": params.seed, "fit": decisive(config.fit.model_dump())}
    behind = made_from(settings, [workspace.DATASET / "dataset.json"], Path(__file__))
    start, reports = time.perf_counter(), []
    with resumable("autoencoder", "autoencoder", behind, config.fit.eval_every) as checkpointer:
        if next(model.parameters(), None) is not None:  # pixels as latents need no training
            reports = fit_with_progress(
                "autoencoder",
                model,
                ema,
                lambda net, batch, generator: net.loss(batch, generator),
                Split(len(data.train), lambda index: to_float(data.train[index])),
                config=config.fit,
                seed=params.seed,
                device=target,
                heldout=Split(len(data.test), lambda index: to_float(data.test[index])),
                checkpointer=checkpointer,
            )
        seconds = time.perf_counter() - start
        trained = ema.model.to("cpu")
        save_autoencoder(trained, workspace.AUTOENCODER)
        write_history(reports, Report, workspace.AUTOENCODER_PLOT)
        psnr = reconstruction_psnr(trained, data.test)
        write_json(workspace.AUTOENCODER_METRICS, {"psnr_db": psnr, "seconds": seconds})
    content = {
        "PSNR in dB": psnr,
        "test images": len(data.test),
        "time": duration(seconds),
        "file": workspace.AUTOENCODER,
    }
    summary(f"autoencoder {config.kind}", content)


main = command(autoencoder)
if __name__ == "__main__":
    main()
