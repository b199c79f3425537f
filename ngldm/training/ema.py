"""Exponential moving average of a network's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """A copy of a network whose weights follow it slowly; sampling uses the copy.

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that the random initial weights are
    forgotten early in short runs too. Buffers are copied as they are.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model: Network = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Call after each optimiser step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1.0 - decay)
        for ours, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)
