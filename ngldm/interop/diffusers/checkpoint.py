"""A diffusers pipeline of a `UNet2DModel` on pixels as a model of ngldm."""

import inspect
from pathlib import Path
from typing import Any

from diffusers import ConfigMixin, UNet2DModel

from ngldm.interop.diffusers.folder import INDEX
from ngldm.interop.diffusers.settings import from_diffusers, of_scheduler
from ngldm.io.errors import InputError
from ngldm.io.files import read_json, require
from ngldm.model import Model
from ngldm.networks.diffusers_unet2d import CLASSES, FOLLOW, KIND, DiffusersUNet2D

PARTS = {"unet", "scheduler"}


def load_checkpoint(folder: Path, dataset: str = "unknown") -> Model:
    """The model of a folder that diffusers' `DDPMPipeline` or `DDIMPipeline` wrote: eps, x_0 or v, Gaussian noise.

    It makes images of [-1, 1], as these pipelines do, with an autoencoder that does nothing.

    Args:
        folder: with `model_index.json`, `unet/` and `scheduler/`.
        dataset: name of the training images, which is only kept for information.

    Raises:
        InputError: a file is missing; or the pipeline has other parts, such as an autoencoder or classes, a network
            that also predicts variances, or a scheduler whose betas are no schedule of ngldm.
    """
    parts = {key for key, value in read_json(require(folder, "diffusers") / INDEX).items() if isinstance(value, list)}
    if parts != PARTS:
        raise InputError(f"{folder}: a pipeline of {', '.join(sorted(parts))}; only unet and scheduler can be taken")
    scheduler = from_diffusers(read_json(folder / "scheduler" / "scheduler_config.json", "beta_schedule"))
    unet = UNet2DModel.from_pretrained(folder, subfolder="unet", local_files_only=True)
    model = Model.build(_settings(unet, folder) | of_scheduler(scheduler) | {"dataset": dataset})
    network = model.network
    assert isinstance(network, DiffusersUNet2D)
    network.unet.load_state_dict(unet.state_dict())
    network.eval()
    return model


def _settings(unet: ConfigMixin, folder: Path) -> dict[str, object]:
    """The settings of a model for the network and for images of its size."""
    config: dict[str, Any] = dict(unet.config)
    size, channels, out = (config[key] for key in FOLLOW)
    if channels != out:
        raise InputError(f"{folder}: the network takes {channels} channels and gives {out}; they must be as many")
    for key in CLASSES:
        if config[key] is not None:
            raise InputError(f"{folder}: {key} is {config[key]!r}; a network with classes cannot be taken")
    if size is None:
        raise InputError(f"{folder}: unet/config.json has no sample_size, the images' height and width")
    height, width = (size, size) if isinstance(size, int) else size
    known = set(inspect.signature(UNet2DModel.__init__).parameters) - {"self", *FOLLOW, *CLASSES}
    return {
        "network": {"kind": KIND, "options": {key: config[key] for key in sorted(known)}},
        "autoencoder": {"kind": "identity"},
        "image_shape": (channels, height, width),
    }
