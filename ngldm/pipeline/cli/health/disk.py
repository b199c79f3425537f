"""The disk, as `ngldm doctor` sees it."""

import shutil
from pathlib import Path

from ngldm.pipeline import workspace
from ngldm.pipeline.cli.health.finding import Finding
from ngldm.pipeline.config.params import Params

GIGABYTE = 1e9
ENOUGH, TOO_LITTLE = 5.0, 0.5  # GB free on the disk: enough for a data set and a few models; too little for one


def disk(params: Params | None) -> Finding:
    """Whether there is space: at least a little, and as much as a whole run of these params writes."""
    from ngldm.pipeline.config.space import readable

    free, wanted = shutil.disk_usage(Path.cwd()).free, needed(params)
    detail = f"{free / GIGABYTE:.{0 if free >= 10 * GIGABYTE else 1}f} GB free"
    if wanted is not None:
        detail += f"; a whole run writes about {readable(wanted)}"
    if free < max(ENOUGH * GIGABYTE, wanted or 0):
        remedy = "free some; `dvc gc -w` removes cached results that the workspace does not use"
        return Finding("FAIL" if free < TOO_LITTLE * GIGABYTE else "warn", detail, remedy)
    return Finding("ok", detail)


def needed(params: Params | None) -> int | None:
    """Bytes that a whole run writes; None as long as the size of images is not known: before the first stage."""
    if params is None or not (workspace.DATASET / "dataset.json").is_file():
        return None
    from math import prod

    import torch

    from ngldm.data.dataset import open_dataset
    from ngldm.model import item_settings, network_choice
    from ngldm.networks.autoencoders.build import build_autoencoder, load_autoencoder
    from ngldm.networks.build import build_network
    from ngldm.networks.registry import NetworkInput
    from ngldm.pipeline.config.space import FLOAT32, Sizes, run_bytes

    data = open_dataset(workspace.DATASET)
    if workspace.AUTOENCODER.is_file():
        autoencoder = load_autoencoder(workspace.AUTOENCODER, data.item_shape)
    else:
        autoencoder = build_autoencoder({**params.autoencoder.settings(), **data.encoding}, data.item_shape)
    about = NetworkInput(autoencoder.latent_shape, params.schedule.num_train_timesteps, params.diffusion.stein_head)
    with torch.device("meta"):
        network = build_network(*network_choice(item_settings(data.item_shape, **params.networks())), about)
    weights = sum(parameter.numel() for parameter in network.parameters())
    carried = sum(value.nbytes for value in autoencoder.carried().values())
    sizes = Sizes(
        items=(2 if params.latents.flips else 1) * data.num_train + len(data.test),
        item=data.test[:1].nbytes,
        latent=prod(autoencoder.latent_shape),
        weights=weights,
        model=FLOAT32 * weights + carried,
    )
    return run_bytes(params, sizes)
