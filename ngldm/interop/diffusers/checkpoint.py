"""A diffusers pipeline of a `UNet2DModel` on pixels as a model of ngldm."""

import inspect
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, UNet2DModel
from torch import Tensor

from ngldm.diffusion.classes import Classes
from ngldm.interop.diffusers.folder import INDEX
from ngldm.interop.diffusers.settings import from_diffusers, of_scheduler
from ngldm.io.errors import InputError, require_whole, shown
from ngldm.io.files import read_json, require
from ngldm.model import Model
from ngldm.networks.diffusers_unet2d import CLASSES, FOLLOW, KIND, DiffusersUNet2D

PARTS = {"unet", "scheduler"}
MADE_BY = "diffusers' save_pretrained"
LONGEST = 300  # characters of diffusers' message
TABLE = "class_embedding.weight"  # of a `UNet2DModel`: a vector for each class


def load_checkpoint(folder: Path, dataset: str = "unknown", no_class: int | None = None) -> Model:
    """The model of a folder that diffusers' `DDPMPipeline` or `DDIMPipeline` wrote: eps, x_0 or v, Gaussian noise.

    It makes images of [-1, 1], as these pipelines do, with an autoencoder that does nothing. The classes of a network
    with `num_class_embeds` have their numbers as names, and equal shares of the generated images.

    Args:
        folder: with `model_index.json`, `unet/` and `scheduler/`.
        dataset: name of the training images, which is only kept for information.
        no_class: the label with which the network was trained on "no class", which guidance needs; None if it was not.

    Raises:
        InputError: a file is missing or damaged; or the pipeline has other parts, such as an autoencoder, a network
            that also predicts variances or takes something else than the number of a class, or a scheduler whose betas
            are no schedule of ngldm.
    """
    parts = {key for key, value in read_json(require(folder / INDEX, MADE_BY)).items() if isinstance(value, list)}
    if parts != PARTS:
        raise InputError(f"{folder}: a pipeline of {', '.join(sorted(parts))}; only unet and scheduler can be taken")
    file = require(folder / "scheduler" / "scheduler_config.json", MADE_BY)
    scheduler, unet = from_diffusers(read_json(file, "beta_schedule")), _unet(folder / "unet")
    classes = _classes(unet, folder, no_class)
    settings = _settings(unet, folder) | of_scheduler(scheduler) | {"dataset": dataset}
    model = Model.build(settings if classes is None else settings | {"classes": classes.settings()})
    network = model.network
    assert isinstance(network, DiffusersUNet2D)
    weights = unet.state_dict()
    if classes is not None:
        weights[TABLE] = _with_no_class(weights[TABLE], no_class)
    network.unet.load_state_dict(weights)
    network.eval()
    return model


def _unet(folder: Path) -> UNet2DModel:
    """The network of a folder.

    Raises:
        InputError: diffusers cannot load it, or the file lacks weights, to which diffusers gives random values.
    """
    try:
        unet, loaded = UNet2DModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder}: diffusers cannot load it ({' '.join(str(error).split())[:LONGEST]})") from error
    if missing := loaded["missing_keys"]:
        raise InputError(f"{folder}: its weights lack {shown(sorted(missing))}")
    return unet


def _classes(unet: ConfigMixin, folder: Path, no_class: int | None) -> Classes | None:
    """The classes of the network, all but "no class"; None if it has none."""
    kind, count = (unet.config[key] for key in CLASSES)
    if kind is not None:
        raise InputError(f"{folder}: class_embed_type is {kind!r}; only num_class_embeds can be taken")
    if no_class is not None:
        if count is None:
            raise InputError(f"no_class: {no_class}, but the network of {folder} has no classes")
        require_whole("no_class", no_class, 0, count - 1)
    if count is None:
        return None
    names = tuple(str(number) for number in range(count) if number != no_class)
    return Classes(names, (1,) * len(names), label_dropout=0.0 if no_class is None else Classes.label_dropout)


def _with_no_class(vectors: Tensor, no_class: int | None) -> Tensor:
    """A network's vectors of classes (M, dim) with that of "no class" at the end, which is zero if it has none."""
    if no_class is None:
        return torch.cat([vectors, torch.zeros_like(vectors[:1])])
    return torch.cat([vectors[:no_class], vectors[no_class + 1 :], vectors[no_class : no_class + 1]])


def _settings(unet: ConfigMixin, folder: Path) -> dict[str, object]:
    """The settings of a model for the network and for images of its size."""
    config: dict[str, Any] = dict(unet.config)
    size, channels, out = (config[key] for key in FOLLOW)
    if channels != out:
        raise InputError(f"{folder}: the network takes {channels} channels and gives {out}; they must be as many")
    if size is None:
        raise InputError(f"{folder}: unet/config.json has no sample_size, the images' height and width")
    height, width = (size, size) if isinstance(size, int) else size
    known = set(inspect.signature(UNet2DModel.__init__).parameters) - {"self", *FOLLOW, *CLASSES}
    return {
        "network": {"kind": KIND, "options": {key: config[key] for key in sorted(known)}},
        "autoencoder": {"kind": "identity"},
        "image_shape": (channels, height, width),
    }
