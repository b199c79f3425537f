"""Stage `latents`: encode every image once, standardise, cache."""

import time

from ngldm.plumbing import paths
from ngldm.plumbing.command import Device, be_deterministic, command, progress, resolve_device, summary
from ngldm.plumbing.params import load_params


def latents(device: Device = "auto") -> None:
    """Encode the data set with the trained autoencoder into a standardised, memory-mapped cache."""
    params, start = load_params(), time.perf_counter()
    from ngldm.autoencoder import load_autoencoder
    from ngldm.datasets import open_dataset
    from ngldm.files import write_json
    from ngldm.latents import build_cache, open_cache

    target = resolve_device(device)
    be_deterministic()
    data = open_dataset(paths.DATASET)
    autoencoder = load_autoencoder(paths.AUTOENCODER, data.image_shape).to(target)
    with progress("latents", len(data.train) + len(data.test)) as advance:
        build_cache(autoencoder, data.train, data.test, paths.LATENTS, params.latents.batch_size, target, advance)
    write_json(paths.LATENTS_METRICS, {"seconds": time.perf_counter() - start})
    cache = open_cache(paths.LATENTS)
    counts = {"training latents": len(cache.train), "test latents": len(cache.test)}
    summary("latents", {**counts, "shape": cache.train.shape[1:], "folder": paths.LATENTS})


main = command(latents)
if __name__ == "__main__":
    main()
