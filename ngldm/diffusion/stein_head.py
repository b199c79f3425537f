"""K_bar(x_t) = E[K | x_t], where K is the noise's Stein kernel: from the law, or from a head of the network.

A sampler that adds noise needs it (`ngldm.sampling.stein`). A head is extra output of the network, trained
beside the objective:

- K_hat = prior * exp(output). The prior is K at the predicted noise: it is right where x_t is nearly pure noise.
- Its loss is K / K_hat + ln K_hat (the Itakura-Saito divergence, the deviance of a gamma regression). As with every
  Bregman divergence, its minimiser is the conditional mean E[K | x_t] (Banerjee et al. 2005), without a bias from a
  clip or a logarithm of K. It grows with K as K, not as K^2, so it also suits noises with heavy tails.
- The network's body gets no gradient from it (`ngldm.networks`), so the main task is what it is without a head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.diffusion.names import STEIN_HEADS
from ngldm.io.errors import InputError, unknown
from ngldm.noise import Law, Noise

WEIGHT = 0.01  # of its loss. The head has weights of its own, so it only matters to the clip of the total gradient norm
LOWEST_PRIOR = 0.1  # K at the predicted noise can be 0, where K_bar is not
HIGHEST_PRIOR = 1e12  # and can leave the range of float32, for tails that grow fast or a prediction far out
LARGEST_OUTPUT = 10.0  # of the network: K_hat / prior is within exp(-10) and exp(10)
NOISELESS = "ddim with eta 0, dpmpp_2m, heun"  # right for every noise with a mean


def keeps_law(law: Law, forward: str, coupling: str) -> bool:
    """Whether the noise of x_t has this law at all t and is independent of x_0: `SteinHead.fixed`."""
    return (forward == "marginal" or law.traits.closed_under_sums) and coupling == "independent"


@dataclass(frozen=True)
class SteinHead:
    """How K_bar is known for a noise law.

    Attributes:
        law: the noise of x_t.
        kind: of the network's head: "none", "scalar" (one number for each image) or "element".
        fixed: whether the noise of x_t has this law at all t, and is independent of x_0. If not, no K is known.
    """

    law: Law
    kind: str = "none"
    fixed: bool = True

    @classmethod
    def choose(cls, law: Law, asked: str, fixed: bool) -> "SteinHead":
        """The head that a law gets: the one asked for, but none if K_bar follows from the predicted noise.

        Raises:
            InputError: there is no head of that name, or it cannot learn the K of this law.
        """
        if asked not in STEIN_HEADS:
            raise unknown("diffusion.stein_head", asked, STEIN_HEADS)
        needs = law.traits.needs
        if asked == "none" or needs in ("nothing", "eps"):
            return cls(law, "none", fixed)
        if needs == "unknown":
            raise InputError(f"diffusion.stein_head: {asked!r}, but no K is known for the noise {law.name!r}; use none")
        if not fixed:
            raise InputError(
                f"diffusion.stein_head: {asked!r} needs diffusion.forward marginal and diffusion.coupling independent: "
                "otherwise no K is known"
            )
        if needs == "element" and asked == "scalar":
            raise InputError(
                f"diffusion.stein_head: 'scalar', but K of {law.name!r} has a value for each element; use element"
            )
        return cls(law, asked, fixed)

    @property
    def needed(self) -> str | None:
        """The head that makes K_bar known: "none", "scalar" or "element"; None if no head can."""
        needs = self.law.traits.needs
        if needs == "nothing" or (needs == "eps" and self.fixed):
            return "none"
        return needs if self.fixed and needs in ("scalar", "element") else None

    def require_k_bar(self, key: str = "sampler method") -> None:
        """Check that K_bar is known, which the sampler `stein` needs.

        Args:
            key: the name of the setting that holds the method, for the error message.

        Raises:
            InputError: it is not: the law has no K, or the model has no head that learned K_bar.
        """
        if self.kind != "none" or self.needed == "none":
            return
        name = self.law.name
        if self.needed is None:
            why = (
                f"no Stein kernel is known for the noise {name!r}"
                if self.fixed
                else f"none is known for {name!r} summed by diffusion.forward markov, or paired by diffusion.coupling"
            )
            raise InputError(f"{key}: 'stein', but {why}; use {NOISELESS}")
        raise InputError(
            f"{key}: 'stein' needs K_bar of the noise {name!r}, which a head of the network must learn, and the model "
            f"has diffusion.stein_head none; train with {self.needed}, or use {NOISELESS}"
        )

    def split(self, output: Tensor, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """The network's output (B, C + extra, ...) as prediction, of `like`'s shape (B, C, ...), and the rest.

        The latter has the shape (B, 1, 1, ...) for "scalar", that of the prediction for "element".
        """
        if self.kind == "none":
            return output, None
        channels = like.shape[1]
        prediction, raw = output[:, :channels], output[:, channels:].float()
        if self.kind == "scalar":
            raw = raw.flatten(1).mean(1).reshape(-1, *[1] * (output.ndim - 1))
        return prediction, raw

    def k_bar(self, eps_hat: Tensor, raw: Tensor | None) -> Tensor | None:
        """K_bar >= 0, which broadcasts over x_t; None if the law does not give it and there is no head.

        Args:
            eps_hat: (B, ...) the predicted noise.
            raw: the head's output, from `split`.
        """
        if raw is not None:
            return (self._prior(eps_hat) * raw.clamp(-LARGEST_OUTPUT, LARGEST_OUTPUT).exp()).to(eps_hat.dtype)
        return self.law.k_bar(eps_hat) if self.needed == "none" else None

    def loss(self, k: Tensor, eps_hat: Tensor, raw: Tensor) -> Tensor:
        """The head's loss: (B,), up to a constant.

        Args:
            k: the K that was drawn with the noise, which broadcasts over x_t.
            eps_hat: (B, ...) the predicted noise, without a gradient.
            raw: the head's output.
        """
        raw = raw.clamp(-LARGEST_OUTPUT, LARGEST_OUTPUT)
        prior = self._prior(eps_hat)
        divergence = k / prior * (-raw).exp() + raw + prior.log()
        return WEIGHT * divergence.flatten(1).mean(1)

    def _prior(self, eps_hat: Tensor) -> Tensor:
        """K at the predicted noise: by the kernel, or for a shared scale by the mean square of the image's elements."""
        if isinstance(self.law, Noise):
            prior = self.law.stein(eps_hat)
        elif self.kind == "scalar":
            prior = eps_hat.square().flatten(1).mean(1).reshape(-1, *[1] * (eps_hat.ndim - 1))
        else:
            prior = torch.ones_like(eps_hat)
        return prior.clamp(LOWEST_PRIOR, HIGHEST_PRIOR).float()
