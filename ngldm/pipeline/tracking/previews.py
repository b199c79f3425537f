"""Pictures during a training, with the same seeds at each evaluation. MLflow's image view has a slider over them."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from ngldm.io.images import UInt8Array
from ngldm.io.items import picture
from ngldm.model import Model
from ngldm.pipeline.tracking.runs import Run
from ngldm.sampling.generator import Generator
from ngldm.training.ema import EMA
from ngldm.training.loop import Report

IMAGES, POINTS, SEED = 16, 2000, 0


def preview(model: Model, ema: EMA[nn.Module], device: torch.device | str) -> UInt8Array:
    """A picture of a few images, or of some points, uint8 (H, W, C).

    It shows the averaged weights, with the best known sampler of the noise. It uses its own random generators and
    moves the networks back afterwards. So it does not change the training.
    """
    count = POINTS if len(model.item_shape) == 1 else IMAGES
    home = next(model.autoencoder.parameters(), None)
    training = ema.model.training
    ema.model.eval()
    model.autoencoder.to(device)
    try:
        images = Generator(replace(model, network=ema.model)).sample(count, SEED, batch_size=count)
    finally:
        ema.model.train(training)
        if home is not None:
            model.autoencoder.to(home.device)
    return picture(images, rows=2, columns=8)


def reporter(run: Run, model: Model, ema: EMA[nn.Module], device: torch.device | str) -> Callable[[Report], None]:
    """A function that writes each report of a training to MLflow: its figures and, after an evaluation, a few images.

    A resumed training first repeats its old reports. For these only the figures are written.
    """
    failed = False

    def tell(report: Report) -> None:
        nonlocal failed
        run.report(report)
        if report.heldout_loss is None or ema.updates != report.step or failed or not run.alive:
            return
        image = run.store.attempt(lambda: preview(model, ema, device), None, give_up=False)
        if image is None:
            failed = True
        else:
            run.picture("training", image, report.step)

    return tell
