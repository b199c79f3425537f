"""Stage `train@<noise>`: the paper's Algorithm 1 for one noise distribution."""

from dataclasses import replace
from pathlib import Path

from ngldm.data.cache.latents import input_files, open_cache
from ngldm.data.dataset import open_dataset
from ngldm.data.results.history import write_history
from ngldm.data.snapshots import Snapshots
from ngldm.io import processes
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.files import entry, read_json, write_json
from ngldm.model import item_settings
from ngldm.pipeline import workspace
from ngldm.pipeline.checkpoints import resumable
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.networks import check_networks
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.config.space import training_bytes, warn_of_space
from ngldm.pipeline.experiments.models import fresh_model, training_task
from ngldm.pipeline.origin import origin
from ngldm.pipeline.own_network import own_network
from ngldm.pipeline.own_noise import own_noise
from ngldm.pipeline.terminal import Device, StageLabel, command, follow, summary
from ngldm.pipeline.tracking.comparison import training_run
from ngldm.pipeline.tracking.models import log_model
from ngldm.pipeline.tracking.previews import reporter
from ngldm.pipeline.tracking.store import Store
from ngldm.training.checkpoints.decisive import decisive
from ngldm.training.ema import EMA
from ngldm.training.loop import Report, fit
from ngldm.training.tracks import make_tracks


def train(noise: StageLabel, device: Device = "auto") -> None:
    """Train the network on the latents with one noise distribution and one seed. Write the model file."""
    params = load_params()
    workspace.require_label("noise", noise, params.training_labels)
    law, seed = params.training(noise)
    arguments = params.noise_arguments(law)
    check_networks(params)
    check_noises(params)  # also that each sampler can sample the model: `dvc repro` may pass over the first stage
    target = resolve_device(device)
    be_deterministic()
    data, cache, config = open_dataset(workspace.DATASET), open_cache(workspace.LATENTS), params.train
    cache.check()  # a training reads every latent, so damage is better found before it begins
    settings = {
        **{"noise": arguments, "schedule": params.schedule.model_dump(), "diffusion": params.diffusion.model_dump()},
        **item_settings(data.item_shape, **params.networks()),
    }
    model = fresh_model(settings, seed, data, cache, workspace.AUTOENCODER)
    warn_of_space(f"train {noise}", training_bytes(model.parameter_count, model.file_bytes, config))
    latents = input_files(workspace.LATENTS)
    decided_by = {**model.config, "seed": seed, "train": decisive(config.model_dump())}
    own = own_noise(**arguments) | own_network(model.network_kind)
    behind = made_from(decided_by, [*latents, workspace.AUTOENCODER], Path(__file__)) | own
    store = Store(params.experiment)
    with (
        resumable(f"train {noise}", noise, behind, config.checkpoint_every, config.export == "best") as checkpointer,
        training_run(store, params, noise, checkpointer.key) as run,
    ):
        snapshots = Snapshots(checkpointer.folder / "snapshots", config.snapshot_every)
        tracks = make_tracks(model.network, config.ema, config.max_steps, snapshots.averages)
        ema = EMA(model.network, config.ema_decay, tracks)
        sha = entry(read_json(workspace.DATASET / "dataset.json"), "sha256", dict)["train"]
        run.data_input(data.name, workspace.DATASET / "train.npy", data.train, sha, "images")
        run.data_input(f"{data.name}-latents", latents[0], cache.train, behind["inputs"][str(latents[0])], "training")
        show = reporter(run, model, ema, target)

        def on_report(report: Report) -> None:
            show(report)
            # A resumed training repeats its old reports, but the weights are those of a later step.
            if report.step == ema.updates and processes.is_main():
                snapshots.keep(report.step, replace(model, network=ema.model).save)

        task = training_task(model, data, cache, heldout=True)
        training = fit(model.network, ema, task, config, seed=seed, device=target, checkpointer=checkpointer)
        run.params({"network.parameters": model.parameter_count, **checkpointer.chosen})
        reports = follow(f"train {noise}", config.max_steps, training, "train", on_report)
        if not processes.is_main():
            return
        run.seconds = seconds = checkpointer.seconds()
        best = checkpointer.load("best", "ema") if config.export == "best" else ema.model.state_dict()
        model.network.load_state_dict(best)
        model.save(workspace.model(noise))
        snapshots.hand_over(workspace.snapshots(noise))
        write_history(reports, workspace.train_plot(noise))
        final = {"loss": reports[-1].loss, "heldout_loss": reports[-1].heldout_loss, "train_seconds": seconds}
        about = {**final, "threads": checkpointer.threads, "made": origin(target)}
        write_json(workspace.metrics("train", noise), about)
        model_id = log_model(store, run, workspace.model(noise), law, model.item_shape)
        run.metrics({"train_seconds": seconds}, model_id=model_id)  # the losses are in `train.*`
    summary(f"train {noise}", {**final, "steps": config.max_steps, "file": workspace.model(noise)})


main = command(train, many=True)
if __name__ == "__main__":
    main()
