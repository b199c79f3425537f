"""Stage `train@<noise>`: Algorithm 1 for one noise distribution."""

import time
from typing import Annotated, Any

import typer

from ngldm.plumbing import paths
from ngldm.plumbing.command import Device, be_deterministic, command, resolve_device
from ngldm.plumbing.fitting import fit_with_progress, write_history
from ngldm.plumbing.params import load_params


def train(noise: Annotated[str, typer.Option(help="Which of params.yaml's noises.")], device: Device = "auto") -> None:
    """Train the U-Net on the cached latents with one noise distribution; write the model file."""
    params = load_params()
    paths.require_label("noise", noise, params.noises)
    target = resolve_device(device)
    be_deterministic()
    import torch

    from ngldm.autoencoder import load_autoencoder
    from ngldm.bundle import Bundle
    from ngldm.checkpoint import Checkpointer, fingerprint, load_tensors, strip_prefix
    from ngldm.datasets import open_dataset
    from ngldm.diffusion import eps_loss
    from ngldm.ema import EMA
    from ngldm.files import sha256_file, write_json
    from ngldm.latents import open_cache
    from ngldm.plumbing.tracking import MODEL_TAG, Store, main_root
    from ngldm.training import Report, Split, stream_seed

    data, cache = open_dataset(paths.DATASET), open_cache(paths.LATENTS)
    config, image_shape = params.train, data.image_shape
    autoencoder = load_autoencoder(paths.AUTOENCODER, image_shape)
    torch.manual_seed(stream_seed(params.seed, "unet"))  # every noise starts from the same weights
    bundle = Bundle.build(
        {
            "noise": params.noise_arguments(noise),
            "schedule": params.schedule.model_dump(),
            "unet": params.unet.model_dump(),
            "autoencoder": autoencoder.settings,
            "image_shape": image_shape,
            "dataset": data.name,
        },
        autoencoder,
        cache.statistics,
    )
    ema = EMA(bundle.unet, config.ema_decay)
    key = fingerprint(
        [
            bundle.config,
            config.model_dump(),
            params.seed,
            sha256_file(paths.LATENTS / "train.npy"),
            str(target),
        ]
    )
    folder = main_root() / "checkpoints" / f"{noise}-{key[:12]}"
    store = Store(params.experiment)
    run = store.create_run(params, noise, noise, {"ngldm.fingerprint": key})

    def log(report: Report) -> None:
        values = {k: v for k, v in vars(report).items() if k != "step"}
        run.metrics({f"train.{k}": v for k, v in values.items()}, report.step)

    def split(array: Any) -> Split:
        return Split(len(array), lambda index: torch.from_numpy(array[index]))

    start = time.perf_counter()
    try:
        reports = fit_with_progress(
            f"train {noise}",
            bundle.unet,
            ema,
            lambda net, batch, generator: eps_loss(net, bundle.schedule, bundle.noise, batch, generator),
            split(cache.train),
            config,
            seed=params.seed,
            device=target,
            heldout=split(cache.test),
            checkpointer=Checkpointer(folder, key, config.checkpoint_every),
            on_report=log,
        )
    except BaseException:
        run.finish("FAILED")
        raise
    seconds = time.perf_counter() - start
    weights = ema.model.state_dict()
    if config.export == "best":
        weights = strip_prefix(load_tensors(folder / "best.safetensors")[0], "ema.")
    bundle.unet.load_state_dict(weights)
    bundle.save(paths.model(noise))
    write_history(reports, paths.train_plot(noise))
    final = {"loss": reports[-1].loss, "heldout_loss": reports[-1].heldout_loss, "train_seconds": seconds}
    write_json(paths.train_metrics(noise), final)
    run.metrics({k: v for k, v in final.items() if k != "loss"}, config.max_steps)
    run.tags({MODEL_TAG: sha256_file(paths.model(noise))})
    store.log_model(run, paths.model(noise), noise, image_shape)
    run.finish()
    print(f"{noise}: loss {reports[-1].loss:.4f} after {config.max_steps} steps, {seconds:.1f} s; {paths.model(noise)}")


main = command(train)
if __name__ == "__main__":
    main()
