"""Stage `autoencoder`: train the autoencoder that gives the latents."""

import time

from ngldm.plumbing import paths
from ngldm.plumbing.command import Device, be_deterministic, command, duration, resolve_device, summary
from ngldm.plumbing.fitting import fit_with_progress, write_history
from ngldm.plumbing.params import load_params


def autoencoder(device: Device = "auto") -> None:
    """Train the autoencoder on the training images; report its reconstruction on the test images."""
    params = load_params()
    from ngldm.autoencoder import build_autoencoder, reconstruction_psnr, save_autoencoder
    from ngldm.datasets import open_dataset
    from ngldm.ema import EMA
    from ngldm.files import write_json
    from ngldm.images import to_float
    from ngldm.training import Split, stream_seed

    target = resolve_device(device)
    be_deterministic()
    import torch

    data, config = open_dataset(paths.DATASET), params.autoencoder
    torch.manual_seed(stream_seed(params.seed, "autoencoder"))
    model = build_autoencoder(config.model_dump(exclude={"fit"}), data.image_shape)
    ema = EMA(model, config.fit.ema_decay)
    start, reports = time.perf_counter(), []
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
        )
    seconds = time.perf_counter() - start
    trained = ema.model.to("cpu")
    save_autoencoder(trained, paths.AUTOENCODER)
    write_history(reports, paths.AUTOENCODER_PLOT)
    psnr = reconstruction_psnr(trained, data.test)
    write_json(paths.AUTOENCODER_METRICS, {"psnr_db": psnr, "seconds": seconds})
    content = {"PSNR in dB": psnr, "test images": len(data.test), "time": duration(seconds), "file": paths.AUTOENCODER}
    summary(f"autoencoder {config.kind}", content)


main = command(autoencoder)
if __name__ == "__main__":
    main()
