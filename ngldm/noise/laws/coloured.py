"""What all noise with correlated elements has in common: n = L m, where L colours noise m of another law."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.noise.law import JointLaw, Law, draw_with_stein

GAUSSIAN: Mapping[str, object] = {"distribution": "gaussian"}


class Coloured(JointLaw):
    """Noise n = L m with a linear, symmetric L. Its K is L K_m L^T, so K_bar is asked for the noise m.

    Args:
        base: the law of m, with uncorrelated elements of mean 0.

    Raises:
        InputError: the base's elements are correlated, or its mean is not 0.
    """

    def __init__(self, base: Law) -> None:
        if base.traits.correlated or abs(base.mean) > 1e-9:
            raise InputError(f"base: {base.name!r} must have mean 0 and uncorrelated elements to be filtered")
        self.base = base
        self.second_moment = base.second_moment
        if isinstance(base, JointLaw):
            self.kernel, self.rising = base.kernel, base.rising
        self.traits = replace(base.traits, correlated=True)

    def check_item(self, item: Sequence[int]) -> None:
        super().check_item(item)
        self.base.check_item(item)

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device, *, stein: bool
    ) -> tuple[Tensor, Tensor | None]:
        if not stein:
            return self.colour(self.base.sample(shape, generator, device)), None
        m, k = draw_with_stein(self.base, shape, generator, device)
        return self.colour(m), k

    @abstractmethod
    def colour(self, z: Tensor) -> Tensor:
        """L z: (B, *item), in the type of z (at least float32)."""

    @abstractmethod
    def whiten(self, x: Tensor) -> Tensor:
        """L^-1 x: (B, *item)."""

    def k_bar(self, eps_hat: Tensor) -> Tensor:
        """K_bar of the noise before it is coloured, from the predicted coloured noise."""
        return self.base.k_bar(self.whiten(eps_hat))
