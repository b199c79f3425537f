"""Stage `latents`: encode every image or point once, and keep the standardised latents."""

import time
from pathlib import Path

import torch

from ngldm.data.cache.latents import Mirrored, build_cache, open_cache
from ngldm.data.dataset import SHARDS, Dataset, open_dataset
from ngldm.data.encoding import Encoding
from ngldm.data.sources.shards.manifest import Manifest, read_manifest
from ngldm.io import processes
from ngldm.io.device import be_deterministic, resolve_device
from ngldm.io.files import write_json
from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.build import load_autoencoder
from ngldm.pipeline import workspace
from ngldm.pipeline.checkpoints import resumable
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.config.sections import LatentsParams
from ngldm.pipeline.terminal import Device, command, progress, summary


def latents(device: Device = "auto") -> None:
    """Encode the data set with the trained autoencoder. Store the standardised latents: arrays, or shards.

    With latents.flips the mirror images of the training images are encoded too.
    A data set that is not kept as pixels is read again, shard by shard. If the stage is stopped, it goes on after the
    last whole shard.
    """
    params, start = load_params(), time.perf_counter()
    target = resolve_device(device)
    be_deterministic()
    data, manifest, config = open_dataset(workspace.DATASET), read_manifest(workspace.DATASET), params.latents
    autoencoder = load_autoencoder(workspace.AUTOENCODER, data.item_shape).to(target)
    if manifest is not None:
        encode_shards(manifest, autoencoder, data, config, target)
    else:
        train = Mirrored(data.train) if config.flips else data.train
        with progress("latents", len(train) + len(data.test), lower="latents.batch_size") as advance:
            build_cache(autoencoder, train, data.test, workspace.LATENTS, config.batch_size, target, advance)
    if not processes.is_main():
        return
    write_json(workspace.metrics("latents"), {"seconds": time.perf_counter() - start})
    cache = open_cache(workspace.LATENTS)
    counts = {"training latents": len(cache.train), "test latents": len(cache.test)}
    summary("latents", {**counts, "shape": cache.train.shape[1:], "folder": workspace.LATENTS})


def encode_shards(
    manifest: Manifest, autoencoder: Autoencoder, data: Dataset, config: LatentsParams, device: torch.device
) -> None:
    """Encode shard by shard, spread over the processes. What is done is kept in checkpoints/ until all is done."""
    inputs = [workspace.DATASET / SHARDS, workspace.DATASET / "test.npy", workspace.AUTOENCODER]
    behind = made_from(config.model_dump(), inputs, Path(__file__))
    with resumable("latents", "latents", behind, every=1) as checkpointer:
        encoding = Encoding(manifest, autoencoder, checkpointer.folder, config.batch_size, device, config.flips)
        if processes.is_main() and (done := len(encoding.done())):
            print(f"latents: {done} of {len(manifest.train)} shards are done already", flush=True)
        with progress("latents", data.num_train, lower="latents.batch_size") as advance:
            for shards in encoding.encode_all(advance):
                checkpointer.note(shards)
        encoding.finish(data.test, workspace.LATENTS, config.dtype)


main = command(latents, many=True)
if __name__ == "__main__":
    main()
