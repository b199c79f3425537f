"""Stage `latents`: encode every image or point once, and keep the standardised latents."""

import time

from ngldm.data.dataset import open_dataset
from ngldm.data.latents import build_cache, open_cache
from ngldm.io import processes
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.files import write_json
from ngldm.networks.autoencoders.build import load_autoencoder
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import Device, command, progress, summary


def latents(device: Device = "auto") -> None:
    """Encode the data set with the trained autoencoder. Store the standardised latents as memory-mapped arrays."""
    params, start = load_params(), time.perf_counter()
    target = resolve_device(device)
    be_deterministic()
    data = open_dataset(workspace.DATASET)
    autoencoder = load_autoencoder(workspace.AUTOENCODER, data.item_shape).to(target)
    with progress("latents", len(data.train) + len(data.test)) as advance:
        build_cache(autoencoder, data.train, data.test, workspace.LATENTS, params.latents.batch_size, target, advance)
    if not processes.is_main():
        return
    write_json(workspace.metrics("latents"), {"seconds": time.perf_counter() - start})
    cache = open_cache(workspace.LATENTS)
    counts = {"training latents": len(cache.train), "test latents": len(cache.test)}
    summary("latents", {**counts, "shape": cache.train.shape[1:], "folder": workspace.LATENTS})


main = command(latents, many=True)
if __name__ == "__main__":
    main()
