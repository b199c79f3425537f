"""What every noise law offers: one law for each element (`Noise`), or one for the whole image (`JointLaw`).

A law draws the noise n of an image. Images are independent. Elements of one image are independent for a `Noise`; for a
`JointLaw` they may share a scale or be correlated. The mean of E[n_i^2] over the elements is 1, so that noises can be
compared at equal energy; a law of infinite variance has the median of |n_i| that the Gaussian has.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Protocol

import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.noise.distribution import Noise
from ngldm.noise.traits import Traits

LengthKernel = Callable[[Tensor, int], Tensor]  # |n|^2 (B,) and the number of elements of n -> K (B,), float64


class Law(Protocol):
    """The interface of a noise law, for training and for sampling.

    Attributes:
        name, params: what `make_noise` was given.
        mean: of each element: 0, but for `exponential_uncentred`.
        second_moment: mean of E[n_i^2] over the elements: 1, but inf for a law of infinite variance.
        traits: what samplers ask for.
        marginal: the law of one element of a draw, where it is one of the registered i.i.d. distributions.
    """

    @property
    def name(self) -> str: ...
    @property
    def params(self) -> Mapping[str, object]: ...
    @property
    def mean(self) -> float: ...
    @property
    def second_moment(self) -> float: ...
    @property
    def traits(self) -> Traits: ...
    @property
    def marginal(self) -> Noise | None: ...

    def check_item(self, item: Sequence[int]) -> None:
        """Check that the law can make noise for items of a shape, such as (C, H, W).

        Raises:
            InputError: it shares or filters axes that the items do not have.
        """
        ...

    def sample(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Noise of independent images: `shape` is (B, *item).

        Raises:
            InputError: see `check_item`.
        """
        ...

    def k_bar(self, eps_hat: Tensor) -> Tensor:
        """K_bar from the predicted noise, at least 0, for a law whose `needs` are "nothing" or "eps".

        Raises:
            InputError: it needs more.
        """
        ...

    def colour(self, z: Tensor) -> Tensor:
        """White noise z (B, *item) with the law's correlation: Sigma^(1/2) z; z itself for an uncorrelated law."""
        ...


class JointLaw(ABC):
    """A law of whole images. Its subclasses are made by `make_noise`, as the i.i.d. distributions are.

    Attributes:
        axes: the number of axes that an item must have: 3, (C, H, W), for noise filtered along rows and columns.
        leading: the sizes that the first axes of an item must have.
        kernel: E[K | n] as a function of the length of n (before it is coloured), where it is known.
        rising: `kernel` grows with the length, and is convex in n.
    """

    name: str = ""
    params: Mapping[str, object] = {}
    mean: float = 0.0
    second_moment: float = 1.0
    marginal: Noise | None = None
    axes: int = 0
    leading: tuple[int, ...] = ()
    kernel: LengthKernel | None = None
    rising: bool = False
    traits: Traits

    def named(self, name: str, params: Mapping[str, object]) -> "JointLaw":
        """The same law under the name and parameters that it was made with."""
        law = copy(self)
        law.name, law.params = name, params
        return law

    def check_item(self, item: Sequence[int]) -> None:
        """Check that the law can make noise for items of that shape.

        Raises:
            InputError: it shares or filters axes that the items do not have.
        """
        if len(item) < self.axes:
            raise InputError(
                f"noise {self.name!r} shares randomness over rows and columns, so an item must have the shape "
                f"(C, H, W); these items have {tuple(item)}; choose another noise"
            )
        if tuple(item[: len(self.leading)]) != self.leading:
            raise InputError(
                f"noise {self.name!r} has a covariance of shape {self.leading}, so the first axes of an item must be "
                f"that; these items have {tuple(item)}"
            )

    def sample(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Noise of independent images, `shape` (B, *item); drawn in float64 or float32, then rounded to `dtype`."""
        self.check_item(shape[1:])
        return self.draw(shape, generator, torch.device(device), stein=False)[0].to(dtype)

    def sample_with_stein(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """The n that `sample` draws, and its K, which broadcasts over n.

        For a correlated law K is that of the noise before it is coloured.

        Raises:
            InputError: `traits.needs` is "unknown".
        """
        self.check_item(shape[1:])
        if self.traits.needs == "unknown":
            raise InputError(f"noise {self.name!r}: no Stein kernel of one number per image or element is known")
        n, k = self.draw(shape, generator, torch.device(device), stein=True)
        assert k is not None
        return n, k

    @abstractmethod
    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device, *, stein: bool
    ) -> tuple[Tensor, Tensor | None]:
        """n (B, *item), and K if `stein` asks for it; n is the same either way."""

    def k_bar(self, eps_hat: Tensor) -> Tensor:
        """K_bar from the predicted noise.

        Raises:
            InputError: it does not follow from it.
        """
        if self.traits.needs != "nothing":
            raise InputError(f"noise {self.name!r}: K_bar does not follow from the predicted noise")
        return torch.ones_like(eps_hat)

    def colour(self, z: Tensor) -> Tensor:
        """Sigma^(1/2) z."""
        return z

    def whiten(self, x: Tensor) -> Tensor:
        """The inverse of `colour`."""
        return x


def draw_with_stein(
    law: Law,
    shape: Sequence[int],
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Noise n (B, *item) and its K, float32: (B, 1, ...) for one K per image, or the shape of n.

    For a correlated law K is that of the noise before it is coloured: a step of a sampler adds colour(K_bar^(1/2) z).

    Raises:
        InputError: no K of these forms is known.
    """
    if isinstance(law, JointLaw):
        n, k = law.sample_with_stein(shape, generator, device)
        return n.float(), k.float()
    n = law.sample(shape, generator, device)
    if isinstance(law, Noise) and law.traits.needs != "unknown":
        return n, law.stein(n)
    raise InputError(f"noise {law.name!r}: no Stein kernel of one number per image or element is known")
