"""Stage `train@<noise>`: Algorithm 1 for one noise distribution."""

import time
from typing import Any

from ngldm.plumbing import paths
from ngldm.plumbing.command import Device, NoiseLabel, be_deterministic, command, resolve_device, summary
from ngldm.plumbing.fitting import fit_with_progress, write_history
from ngldm.plumbing.params import load_params


def train(noise: NoiseLabel, device: Device = "auto") -> None:
    """Train the U-Net on the cached latents with one noise distribution; write the model file."""
    params = load_params()
    paths.require_label("noise", noise, params.noises)
    target = resolve_device(device)
    be_deterministic()
    import torch

    from ngldm.autoencoder import load_autoencoder
    from ngldm.bundle import Bundle
    from ngldm.checkpoint import Checkpointer, fingerprint
    from ngldm.datasets import open_dataset
    from ngldm.diffusion import diffusion_loss
    from ngldm.ema import EMA
    from ngldm.extent import latent_extent
    from ngldm.files import read_json, sha256_file, write_json
    from ngldm.latents import open_cache
    from ngldm.plumbing.previews import reporter
    from ngldm.plumbing.registry import log_model
    from ngldm.plumbing.snapshots import hand_over, snapshooter
    from ngldm.plumbing.tracking import Store, main_root
    from ngldm.training import Split, stream_seed

    data, cache, config = open_dataset(paths.DATASET), open_cache(paths.LATENTS), params.train
    autoencoder = load_autoencoder(paths.AUTOENCODER, data.image_shape)
    settings = {
        "noise": params.noise_arguments(noise),
        "schedule": params.schedule.model_dump(),
        "diffusion": params.diffusion.model_dump(),
        "unet": params.unet.model_dump(),
        "autoencoder": autoencoder.settings,
        "image_shape": data.image_shape,
        "dataset": data.name,
    }
    torch.manual_seed(stream_seed(params.seed, "unet"))  # every noise starts from the same weights
    bundle = Bundle.build(settings, autoencoder, cache.statistics, latent_extent(cache.train))
    ema = EMA(bundle.unet, config.ema_decay)

    def split(array: Any) -> Split:
        return Split(len(array), lambda index: torch.from_numpy(array[index]))

    data_sha = read_json(paths.DATASET / "dataset.json", "sha256")["sha256"]["train"]
    latents = sha256_file(paths.LATENTS / "train.npy")
    key = fingerprint([settings, config.model_dump(), params.seed, latents, str(target)])
    checkpointer = Checkpointer(main_root() / "checkpoints" / f"{noise}-{key[:12]}", key, config.checkpoint_every)
    keep = snapshooter(bundle, ema, config.snapshot_every, checkpointer.folder / "snapshots")
    store = Store(params.experiment)
    start = time.perf_counter()
    with store.training_run(params, noise, key) as run:
        run.data_input(data.name, paths.DATASET / "train.npy", data_sha, "images")
        run.data_input(f"{data.name}-latents", paths.LATENTS / "train.npy", latents, "training")
        show = reporter(run, bundle, ema, target)

        def on_report(report: Any) -> None:
            show(report)
            keep(report)

        reports = fit_with_progress(
            f"train {noise}",
            bundle.unet,
            ema,
            lambda net, batch, generator: diffusion_loss(
                net, bundle.schedule, bundle.forward, batch, generator, bundle.objective
            ),
            split(cache.train),
            config=config,
            seed=params.seed,
            device=target,
            heldout=split(cache.test),
            checkpointer=checkpointer,
            on_report=on_report,
        )
        seconds = time.perf_counter() - start
        best = checkpointer.load("best", "ema") if config.export == "best" else ema.model.state_dict()
        bundle.unet.load_state_dict(best)
        bundle.save(paths.model(noise))
        hand_over(checkpointer.folder / "snapshots", paths.snapshots(noise))
        write_history(reports, paths.train_plot(noise))
        final = {"loss": reports[-1].loss, "heldout_loss": reports[-1].heldout_loss, "train_seconds": seconds}
        write_json(paths.train_metrics(noise), final)
        model_id = log_model(store, run, paths.model(noise), noise, data.image_shape)
        run.metrics(final, model_id=model_id)
    summary(f"train {noise}", {**final, "steps": config.max_steps, "file": paths.model(noise)})


main = command(train)
if __name__ == "__main__":
    main()
