"""Which trainings on a CPU have one thread.

A small network trains on one. A second gains little, and beside another busy process it costs most of the speed. So
the weights of a small network do not depend on the number of cores either. A larger one has as many threads as there
are free cores (`ngldm.io.threads`); the number changes its weights by rounding alone.
"""

from collections.abc import Callable

import torch
from torch import nn

SMALL = 4e9  # operations of a step, forward and backward: about 50 ms of one core


def operations(network: nn.Module, probe: Callable[[], object]) -> float:
    """Additions and multiplications of the network's layers with weights, forward and backward, in one call of `probe`.

    Backward counts twice: for the inputs' gradients and the weights'. Products without weights, as of attention, do not
    count.
    """
    found = 0.0

    def count(layer: nn.Module, inputs: object, output: object) -> None:
        nonlocal found
        weight = getattr(layer, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.dim() > 1 and isinstance(output, torch.Tensor):
            outputs = getattr(layer, "out_channels", weight.shape[0])
            found += 3 * 2 * weight.numel() * output.numel() / outputs

    handles = [layer.register_forward_hook(count) for layer in network.modules()]
    try:
        probe()
    finally:
        for handle in handles:
            handle.remove()
    return found


def is_small(network: nn.Module, probe: Callable[[], object]) -> bool:
    """Whether a step, of which `probe` computes the gradients, is so small that one thread does it best."""
    return operations(network, probe) < SMALL
