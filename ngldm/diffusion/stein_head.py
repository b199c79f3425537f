"""K_bar(x_t) = E[K | x_t], where K is the noise's Stein kernel: from the law, or from a head of the network.

A sampler that adds noise needs it (`ngldm.sampling.stein`). A head is extra output of the network, trained
beside the objective:

- For a scale that the image shares, n = sqrt(A) z, K is a rising, convex function of |n| (`JointLaw.kernel`). So K_bar
  is at least K at |eps_hat|, and hardly above K at the largest |n| that x_t allows, `reach`. The output chooses between
  the two: ln K_hat = (1 - w) ln K(|eps_hat|) + w ln K(reach), w = sigmoid(output). Where x_t is nearly pure noise, and
  for an x_t that is far out, nothing is left to choose. This matters: there each step of `stein` multiplies |x_t| by a
  random factor of about sqrt(K_hat d) / |n|, so that a K_hat that is too large by a few percent makes x_t explode.
- For other noises K_hat = prior * exp(output). The prior is K at the predicted noise: it is right where x_t is nearly
  pure noise. Where E[K | n] of a shared scale is not known, it is the mean square of eps_hat.
- Its loss is K / K_hat + ln K_hat (the Itakura-Saito divergence, the deviance of a gamma regression). As with every
  Bregman divergence, its minimiser is the conditional mean E[K | x_t] (Banerjee et al. 2005), without a bias from a
  clip or a logarithm of K. It grows with K as K, not as K^2, so it also suits noises with heavy tails.
- The network's body gets no gradient from it (`ngldm.networks`), so the main task is what it is without a head.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.diffusion.names import STEIN_HEADS
from ngldm.io.device import in_float64
from ngldm.io.errors import InputError, unknown
from ngldm.noise import Law, Noise
from ngldm.noise.law import JointLaw

WEIGHT = 0.01  # of its loss. The head has weights of its own, so it only matters to the clip of the total gradient norm
LOWEST_PRIOR = 0.1  # K at the predicted noise can be 0, where K_bar is not
HIGHEST_PRIOR = 1e12  # and can leave the range of float32, for tails that grow fast or a prediction far out
LOWEST_KERNEL = 0.01  # the same for a known kernel of a shared scale, which is 0 at most at n = 0
LARGEST_SQUARE = 1e24  # of a length, so that K stays finite
LARGEST_OUTPUT = 10.0  # of the network: K_hat / prior is within exp(-10) and exp(10)
DATA_STD = 1.0  # of x_0, which is standardised
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

    def reach(self, x: Tensor, signal: Tensor, noise: Tensor) -> Tensor | None:
        """The largest |n| to be expected in x_t = a_t x_0 + b_t n; None where K_hat does not need it.

        It is (|x_t| + 2 a_t sqrt(d)) / b_t, with the length 2 sqrt(d) for a large x_0 of d elements; for coloured noise
        of x_t and n before they are coloured.

        Args:
            x: (B, ...) x_t.
            signal, noise: a_t and b_t > 0, which broadcast over x_t.

        Returns:
            (B, 1, ...).
        """
        if not (self.kind == "scalar" and isinstance(self.law, JointLaw) and self.law.rising):
            return None
        longest = 2.0 * DATA_STD * math.sqrt(x[0].numel())
        return (_square(self.law.whiten(x)).sqrt() + longest * in_float64(signal)) / in_float64(noise)

    def k_bar(self, eps_hat: Tensor, raw: Tensor | None, reach: Tensor | None = None) -> Tensor | None:
        """K_bar >= 0, which broadcasts over x_t; None if the law does not give it and there is no head.

        Args:
            eps_hat: (B, ...) the predicted noise.
            raw: the head's output, from `split`.
            reach: from the method of that name.
        """
        if raw is not None:
            return self._log_k(eps_hat, raw, reach).exp().to(eps_hat.dtype)
        return self.law.k_bar(eps_hat) if self.needed == "none" else None

    def loss(self, k: Tensor, eps_hat: Tensor, raw: Tensor, reach: Tensor | None = None) -> Tensor:
        """The head's loss: (B,), up to a constant.

        Args:
            k: the K that was drawn with the noise, which broadcasts over x_t.
            eps_hat: (B, ...) the predicted noise, without a gradient.
            raw: the head's output.
            reach: from the method of that name.
        """
        log_k = self._log_k(eps_hat, raw, reach)
        return WEIGHT * (k * (-log_k).exp() + log_k).flatten(1).mean(1)

    def _log_k(self, eps_hat: Tensor, raw: Tensor, reach: Tensor | None) -> Tensor:
        """ln K_hat, float32."""
        if reach is None:
            return self._prior(eps_hat).log() + raw.clamp(-LARGEST_OUTPUT, LARGEST_OUTPUT)
        assert isinstance(self.law, JointLaw)
        size = eps_hat[0].numel()
        lowest, highest = (
            self._kernel(square, size).clamp(LOWEST_KERNEL, HIGHEST_PRIOR).log().float().to(raw.device)
            for square in (_square(self.law.whiten(eps_hat)), reach.square())
        )
        return lowest + raw.sigmoid() * (highest - lowest)

    def _prior(self, eps_hat: Tensor) -> Tensor:
        """K at the predicted noise: by the kernel, or for a shared scale by the mean square of the image's elements."""
        if isinstance(self.law, Noise):
            prior = self.law.stein(eps_hat)
        elif self.kind == "scalar":
            white = self.law.whiten(eps_hat) if isinstance(self.law, JointLaw) else eps_hat
            prior = self._kernel(_square(white), eps_hat[0].numel())
        else:
            prior = torch.ones_like(eps_hat)
        return prior.clamp(LOWEST_PRIOR, HIGHEST_PRIOR).float().to(eps_hat.device)

    def _kernel(self, square: Tensor, size: int) -> Tensor:
        """E[K | n] of |n|^2 (B, 1, ...): the mean square where it is not known."""
        if not (isinstance(self.law, JointLaw) and self.law.kernel):
            return square / size
        square = square.clamp(max=LARGEST_SQUARE)
        return self.law.kernel(square.flatten(), size).reshape(square.shape)


def _square(x: Tensor) -> Tensor:
    """|x|^2 of each image: (B, 1, ...) float64."""
    return in_float64(x).square().flatten(1).sum(1).reshape(-1, *[1] * (x.ndim - 1))
