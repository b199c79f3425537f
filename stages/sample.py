"""Stage `sample@<noise>-<sampler>`: generate images or points with a trained model."""

import time

import numpy as np

from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.files import atomic_directory, sha256_file, write_json
from ngldm.io.images import save_png
from ngldm.io.items import noun, picture
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import Device, NoiseLabel, SamplerLabel, command, duration, progress, summary
from ngldm.sampling.best import resolve_sampler
from ngldm.sampling.generator import Generator, load
from ngldm.sampling.randomness import start_choice
from ngldm.sampling.samplers import network_calls

SHOWN = 10_000  # items of which the picture for `dvc plots` is made: all these points, or the first images


def sample(
    noise: NoiseLabel,
    sampler: SamplerLabel,
    device: Device = "auto",
) -> None:
    """Generate images or points with one sampler: an array, with a seed for each item, and a trajectory."""
    params = load_params()
    workspace.require_label("noise", noise, params.noises)
    workspace.require_label("sampler", sampler, params.samplers)
    target = resolve_device(device)
    be_deterministic()
    config = params.sample
    generator = load(workspace.model(noise), target)
    diffusion = generator.model.diffusion
    settings = params.sampler_options[sampler].settings()
    options = resolve_sampler(settings, diffusion.noise.name, diffusion.schedule.num_train_timesteps)
    size = config.batch_size or generator.batch_size(config.num_images)
    if config.compile:
        generator = Generator(generator.model.compiled())
    empty = generator.model.no_items()
    with atomic_directory(workspace.samples(noise, sampler)) as folder:
        shape = (config.num_images, *empty.shape[1:])
        items = np.lib.format.open_memmap(folder / f"{noun(empty)}.npy", mode="w+", dtype=empty.dtype, shape=shape)
        start, done = time.perf_counter(), 0
        total = config.num_images * options["num_inference_steps"]
        with progress(f"sample {noise} {sampler}", total, "steps") as advance:
            for batch in generator.batches(
                config.num_images, config.seed, batch_size=size, progress=advance, **options
            ):
                items[done : done + len(batch)] = batch
                done += len(batch)
        items.flush()
        first = picture(np.array(items[:SHOWN]))
        seconds = time.perf_counter() - start
        frames = generator.trajectory(config.trajectory_images, config.trajectory_frames, config.seed, **options)
        np.save(folder / "trajectory.npy", frames)
        about = {
            "noise": noise,
            "sampler": options,
            "start_noise": start_choice(options.get("start_noise"), diffusion.noise),
            "network_calls": network_calls(options["method"], options["num_inference_steps"]),
            "seed": config.seed,
            "num_images": config.num_images,
        }
        write_json(folder / "samples.json", {**about, "model_sha256": sha256_file(workspace.model(noise))})
    save_png(first, workspace.sample_plot(noise, sampler))
    write_json(workspace.metrics("sample", noise, sampler), {"sample_seconds": seconds})
    summary(
        f"sample {noise} {sampler}",
        {
            noun(empty): config.num_images,
            "network calls per image": about["network_calls"],
            "time": duration(seconds),
            "folder": workspace.samples(noise, sampler),
        },
    )


main = command(sample)
if __name__ == "__main__":
    main()
