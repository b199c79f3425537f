"""Exponential moving average of a network's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

from ngldm.training.tracks import Tracks

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """A copy of a network whose weights are a moving average of the network's weights. Sampling uses the copy.

    After n updates the decay is min(decay, (1 + n) / (10 + n)). It is small at first, so that the random initial
    weights lose their influence early, also in short trainings. Buffers are copied without averaging.

    Args:
        model: the network.
        decay: in [0, 1); 0 averages nothing.
        tracks: further averages, which are updated and saved together with this one; None has none.
    """

    def __init__(self, model: Network, decay: float, tracks: Tracks[Network] | None = None) -> None:
        self.decay, self.tracks = decay, tracks
        self.updates = 0
        self.model: Network = copy.deepcopy(model).requires_grad_(False).eval()

    @property
    def parts(self) -> dict[str, Network]:
        """All averages, by the names that they have in a checkpoint."""
        further = self.tracks.models if self.tracks else {}
        return {"ema": self.model, **{f"ema_{length}": model for length, model in further.items()}}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the averages. To be called after each optimiser step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1.0 - decay)
        for ours, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)
        if self.tracks:
            self.tracks.update(model, self.updates)
