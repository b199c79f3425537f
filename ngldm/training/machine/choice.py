"""Precision and layout of a training: with precision "auto" a few steps of each are timed at its start."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from ngldm.io.device import Choice, Computation, choose_computation, random_generator
from ngldm.training.config import FitSettings
from ngldm.training.names import check_precision
from ngldm.training.task import LossFunction


def choose(
    network: nn.Module, loss: LossFunction, batch: Callable[[], object], config: FitSettings, device: torch.device
) -> Choice:
    """The computation of a training. All processes get that of the main one.

    Args:
        batch: makes a batch, on the device, of as many items as a process takes at once.
    """
    check_precision(config.precision, config.layout, config.accumulate_steps)

    def work(one: Computation) -> Callable[[], None]:
        """A forward and backward pass of a copy of the network."""
        clone, items = copy.deepcopy(network).train(), batch()
        one.place(clone, device)

        def step() -> None:
            with one.autocast(device):
                value = loss(clone, items, random_generator(device, 0)).mean()
            value.backward()
            clone.zero_grad(set_to_none=True)

        return step

    about = {
        "network": {key: list(weight.shape) for key, weight in network.named_parameters()},
        "batch": [config.batch_size, config.accumulate_steps],
    }
    return choose_computation(config.precision, config.layout, device, work, about)
