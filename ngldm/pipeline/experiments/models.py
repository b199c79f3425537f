"""Models for the pipeline's latents, before they are trained."""

from collections.abc import Mapping
from pathlib import Path

import torch

from ngldm.data.dataset import Dataset
from ngldm.data.latents import Latents
from ngldm.model import Model
from ngldm.networks.autoencoders.build import load_autoencoder
from ngldm.pipeline import workspace
from ngldm.training.seeds import stream_seed


def fresh_model(
    settings: Mapping[str, object],
    seed: int,
    data: Dataset,
    cache: Latents,
    autoencoder_file: Path = workspace.AUTOENCODER,
) -> Model:
    """A model with an untrained network and a trained autoencoder.

    The weights of the network depend on the seed and its size alone: all noises of a seed start from the same.

    Args:
        settings: the keys noise, schedule and diffusion of `Model.build`, and those of `ngldm.model.item_settings`.
        seed: of the training.
        data: the data set whose images or points the model will make.
        cache: their latents.
        autoencoder_file: of the autoencoder that made them; the pipeline's own.

    Raises:
        InputError: the file of the autoencoder is missing or damaged, or a setting is not allowed.
    """
    autoencoder = load_autoencoder(autoencoder_file, data.item_shape)
    about = {"autoencoder": autoencoder.settings, "dataset": data.name}
    torch.manual_seed(stream_seed(seed, "unet"))
    return Model.build({**settings, **about}, autoencoder, cache.statistics, cache.extent())
