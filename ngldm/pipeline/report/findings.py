"""What the report shows beyond the stages' own figures: reconstructions, moments, Theorem 1, seconds, provenance.

Cheap by construction: seconds on two cores, whatever the data set.
"""

from ngldm.data.dataset import open_dataset
from ngldm.data.latents import open_cache
from ngldm.io.images import UInt8Array, grid
from ngldm.io.tensors import to_float, to_uint8
from ngldm.networks.autoencoders.build import load_autoencoder
from ngldm.noise import Noise, make_noise
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.theory.measure import THEOREM_STEPS, Row, measure_theorem

THEOREM_VALUES = 30_000  # latent values carried to x_T: the chain of 1000 steps then takes a second at most


def reconstructions(count: int = 16, target: int = 48) -> UInt8Array:
    """The first test images above what the autoencoder makes of them, as one uint8 picture (H, W, C)."""
    import torch

    data = open_dataset(workspace.DATASET)
    model = load_autoencoder(workspace.AUTOENCODER, data.image_shape)
    originals = data.test[:count]
    with torch.no_grad():
        decoded = to_uint8(model.decode(model.encode(to_float(originals))))
    import numpy as np

    both = np.concatenate([originals, decoded])
    scale = max(1, -(-target // both.shape[1]))
    return grid(both.repeat(scale, axis=1).repeat(scale, axis=2), len(originals), padding=2)


def make_noises(params: Params) -> dict[str, Noise]:
    """Label to distribution, for the noises compared."""
    return {label: make_noise(**params.noise_arguments(label)) for label in params.noises}


def theorem_rows(params: Params, noises: dict[str, Noise]) -> tuple[list[Row], tuple[int, ...]]:
    """Theorem 1's ratio of every noise but the Gaussian itself, for T up to the pipeline's; and a latent's shape.

    Few latents where they are large: their distances then vary the less.
    """
    import torch

    cache = open_cache(workspace.LATENTS)
    shape = tuple(cache.train.shape[1:])
    size = 1
    for side in shape:
        size *= side
    count = min(len(cache.train), max(16, THEOREM_VALUES // size))
    last = params.schedule.num_train_timesteps
    steps = sorted({t for t in THEOREM_STEPS if t < last} | {min(last, THEOREM_STEPS[-1])})
    others = {label: noise for label, noise in noises.items() if noise.name != "gaussian"}
    latents = torch.from_numpy(cache.train[:count].copy())
    return measure_theorem(latents, others, steps, params.schedule.model_dump()), shape
