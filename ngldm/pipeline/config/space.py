"""How many bytes on the disk a run writes, from its settings and the sizes of its items and models.

Counted is what can lie there at one time: checkpoints with their temporary, outputs, the copy that DVC's cache keeps of
each output (on file systems with reflinks it takes nothing), MLflow's copy of each model.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from ngldm.io import processes
from ngldm.io.disk import free_bytes
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.config.sections import TrainParams

FLOAT32 = 4  # bytes
STATES = 4  # of the weights in a checkpoint: weights, their average, two moments of the optimiser
CHECKPOINTS = 4  # on the disk at one time: last, the one before, best, and one that is being written
COPIES = 2  # of an output: in the workspace and in DVC's cache


@dataclass(frozen=True)
class Sizes:
    """What a run is about.

    Attributes:
        items: training and test items together.
        item: bytes of one image or point.
        latent: numbers of one latent.
        weights: numbers that a training of the network changes.
        model: bytes of a model file.
    """

    items: int
    item: int
    latent: int
    weights: int
    model: int


def training_bytes(weights: int, model: int, train: TrainParams) -> int:
    """Bytes that one training writes, those included that are removed at its end.

    Args:
        weights: numbers that the training changes.
        model: bytes of a model file.
    """
    states = STATES + (len(train.ema.sigma_rel) if train.ema else 0)
    return CHECKPOINTS * states * FLOAT32 * weights + _kept(model, train) + _snapshots(model, train)


def _kept(model: int, train: TrainParams) -> int:
    """Bytes of a training's outputs and of MLflow's copy of its model."""
    return COPIES * (model + _snapshots(model, train)) + model


def _snapshots(model: int, train: TrainParams) -> int:
    models = train.max_steps // train.snapshot_every if train.snapshot_every else 0
    averages = train.ema.snapshots * len(train.ema.sigma_rel) if train.ema else 0
    return model * (models + averages)


def run_bytes(params: Params, sizes: Sizes) -> int:
    """Bytes that a run writes after the stage `download`: latents, all trainings, all samples."""
    trainings = len(params.training_labels)
    latents = COPIES * FLOAT32 * sizes.items * sizes.latent * (2 if params.latents.flips else 1)
    trajectory = params.sample.trajectory_images * params.sample.trajectory_frames
    samples = COPIES * sizes.item * (params.sample.num_images + trajectory) * len(params.samplers)
    one = training_bytes(sizes.weights, sizes.model, params.train)
    return latents + one + (trainings - 1) * _kept(sizes.model, params.train) + trainings * samples


def warn_of_space(title: str, needed: int) -> None:
    """Print a warning if the disk of the working folder has less space than is needed.

    Args:
        title: what the line begins with.
    """
    free = free_bytes(Path.cwd())
    if needed > free and processes.is_main():
        print(f"{title}: warning: about {readable(needed)} are written, {readable(free)} are free", file=sys.stderr)


def readable(count: int) -> str:
    """Bytes for people: 3.2 GB."""
    step = min(4, int(math.log(max(count, 1), 1000)))
    return f"{count / 1000**step:.{1 if step else 0}f} {('bytes', 'kB', 'MB', 'GB', 'TB')[step]}"
