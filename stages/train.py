"""Stage `train@<noise>`: Algorithm 1 for one noise distribution."""

import time
from typing import Any

from ngldm.data.history import write_history
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import Device, NoiseLabel, command, fit_with_progress, summary


def train(noise: NoiseLabel, device: Device = "auto") -> None:
    """Train the U-Net on the cached latents with one noise distribution; write the model file."""
    params = load_params()
    workspace.require_label("noise", noise, params.noises)
    target = resolve_device(device)
    be_deterministic()
    import torch

    from ngldm.data.dataset import open_dataset
    from ngldm.data.latents import open_cache
    from ngldm.data.snapshots import hand_over, snapshooter
    from ngldm.data.statistics import latent_extent
    from ngldm.diffusion.objective import diffusion_loss
    from ngldm.io.files import entry, fingerprint, read_json, sha256_file, write_json
    from ngldm.model import Model
    from ngldm.networks.autoencoders.build import load_autoencoder
    from ngldm.pipeline.tracking.comparison import training_run
    from ngldm.pipeline.tracking.models import log_model
    from ngldm.pipeline.tracking.previews import reporter
    from ngldm.pipeline.tracking.store import Store
    from ngldm.pipeline.workspace import main_root
    from ngldm.training.checkpoint import Checkpointer
    from ngldm.training.ema import EMA
    from ngldm.training.loop import Report, Split
    from ngldm.training.seeds import stream_seed

    data, cache, config = open_dataset(workspace.DATASET), open_cache(workspace.LATENTS), params.train
    autoencoder = load_autoencoder(workspace.AUTOENCODER, data.image_shape)
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
    bundle = Model.build(settings, autoencoder, cache.statistics, latent_extent(cache.train))
    ema = EMA(bundle.unet, config.ema_decay)

    def split(array: Any) -> Split:
        return Split(len(array), lambda index: torch.from_numpy(array[index]))

    data_sha = entry(read_json(workspace.DATASET / "dataset.json"), "sha256", dict)["train"]
    latents = sha256_file(workspace.LATENTS / "train.npy")
    key = fingerprint([settings, config.model_dump(), params.seed, latents, str(target)])
    checkpointer = Checkpointer(main_root() / "checkpoints" / f"{noise}-{key[:12]}", key, config.checkpoint_every)
    keep = snapshooter(bundle, ema, config.snapshot_every, checkpointer.folder / "snapshots")
    store = Store(params.experiment)
    start = time.perf_counter()
    with training_run(store, params, noise, key) as run:
        run.data_input(data.name, workspace.DATASET / "train.npy", data_sha, "images")
        run.data_input(f"{data.name}-latents", workspace.LATENTS / "train.npy", latents, "training")
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
        bundle.save(workspace.model(noise))
        hand_over(checkpointer.folder / "snapshots", workspace.snapshots(noise))
        write_history(reports, Report, workspace.train_plot(noise))
        final = {"loss": reports[-1].loss, "heldout_loss": reports[-1].heldout_loss, "train_seconds": seconds}
        write_json(workspace.train_metrics(noise), final)
        model_id = log_model(store, run, workspace.model(noise), noise, data.image_shape)
        run.metrics(final, model_id=model_id)
    summary(f"train {noise}", {**final, "steps": config.max_steps, "file": workspace.model(noise)})


main = command(train)
if __name__ == "__main__":
    main()
