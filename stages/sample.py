"""Stage `sample@<noise>-<sampler>`: generate images or points with a trained model."""

import time
from collections import deque
from pathlib import Path

import numpy as np

from ngldm.io import processes
from ngldm.io.device import be_deterministic, kernels, resolve_device
from ngldm.io.files import atomic_directory, sha256_file, write_described, write_json
from ngldm.io.images import save_png
from ngldm.io.items import CLASSES, class_picture, noun, write_items
from ngldm.pipeline import workspace
from ngldm.pipeline.checkpoints import Parts, resumable
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.noises import require_noise
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.config.sections import SampleParams
from ngldm.pipeline.own_noise import own_noise
from ngldm.pipeline.terminal import Device, NoiseLabel, SamplerLabel, command, duration, progress, summary
from ngldm.sampling.best import resolve_sampler
from ngldm.sampling.generator import Generator, load
from ngldm.sampling.randomness import start_choice


def sample(noise: NoiseLabel, sampler: SamplerLabel, device: Device = "auto") -> None:
    """Generate images or points with one sampler: an array, with a seed for each item, and a trajectory."""
    params = load_params()
    workspace.require_label("noise", noise, params.training_labels)
    workspace.require_label("sampler", sampler, params.samplers)
    target = resolve_device(device)
    be_deterministic()
    config = params.sample.model_copy(update={"seed": params.sample_seed(noise)})
    file, title = workspace.model(noise), f"sample {noise} {sampler}"
    generator = load(file, target)
    diffusion, empty = generator.model.diffusion, generator.model.no_items()
    require_noise(params, noise, file, diffusion.noise)
    settings = params.sampler_options[sampler].settings()
    options = resolve_sampler(settings, diffusion.noise.name, diffusion.schedule.num_train_timesteps)
    calls = generator.network_calls(generator.options(**options))
    size = config.batch_size or generator.shared_batch_size(config.num_images)
    generator, computation = computing(generator, config, size, title)
    chosen = config.model_dump(include={"num_images", "seed", "compile"})
    decided_by = {"sampler": options, "batch_size": size, **chosen, **computation}
    behind = {**made_from(decided_by, [file], Path(__file__)), "device": target.type}
    behind |= own_noise(diffusion.noise.name, diffusion.noise.params)
    if config.compile:
        generator = Generator(generator.model.compiled())
    with kernels(config.deterministic, target), resumable(title, f"_sample-{noise}-{sampler}", behind, 1) as kept:
        start, total = time.perf_counter(), config.num_images * options["num_inference_steps"]
        with progress(title, total, "steps", "sample.batch_size") as advance:
            wanted = (config.num_images, config.seed, size)
            batches = generator.spread(*wanted, kept=Parts(kept, "batches"), progress=advance, **options)
            if not processes.is_main():
                deque(batches, maxlen=0)
                return
            labels = generator.labels(config.num_images)
            with atomic_directory(workspace.samples(noise, sampler)) as folder:
                first = write_items(batches, config.num_images, folder / f"{noun(empty)}.npy", empty)
                seconds = time.perf_counter() - start
                columns = config.trajectory_frames
                frames = generator.trajectory(config.trajectory_images, columns, config.seed, **options)
                np.save(folder / "trajectory.npy", frames)
                if labels is not None:
                    np.save(folder / CLASSES, labels)
                about = {
                    "noise": noise,
                    "sampler": options,
                    "sampler_label": sampler,
                    "start_noise": start_choice(options.get("start_noise"), diffusion.noise),
                    "network_calls": calls,
                    "seed": config.seed,
                    "num_images": config.num_images,
                    "trajectory_levels": generator.trajectory_levels(columns, **options),
                    **computation,
                }
                arrays = sorted(path.name for path in folder.glob("*.npy"))
                write_described(folder / "samples.json", {**about, "model_sha256": sha256_file(file)}, arrays)
    save_png(class_picture(first, labels), workspace.sample_plot(noise, sampler))
    write_json(workspace.metrics("sample", noise, sampler), {"sample_seconds": seconds})
    shown = {noun(empty): config.num_images, "network calls per image": calls}
    summary(title, {**shown, "time": duration(seconds), "folder": workspace.samples(noise, sampler)})


def computing(generator: Generator, config: SampleParams, size: int, title: str) -> tuple[Generator, dict[str, object]]:
    """The generator in the precision and layout of the params, or the fastest for a batch; and what is recorded."""
    with kernels(config.deterministic, generator.model.device):
        generator, choice = generator.computing(config.precision, config.layout, size)
    if choice.said and processes.is_main():
        print(f"{title}: {choice.said}", flush=True)
    return generator, config.recorded(choice.computation)


main = command(sample, many=True)
if __name__ == "__main__":
    main()
