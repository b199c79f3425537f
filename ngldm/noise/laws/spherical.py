"""Noise of a uniform direction: its length is fixed (`sphere`) or has a law of its own (`radial`)."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ngldm.io.device import copied_once
from ngldm.io.errors import InputError
from ngldm.noise.distribution import Noise
from ngldm.noise.law import JointLaw
from ngldm.noise.registry import make_iid_part, register
from ngldm.noise.traits import Traits

GAMMA: Mapping[str, object] = {"distribution": "gamma", "concentration": 4.0}
NODES = copied_once(torch.linspace(-22.0, 5.0, 541, dtype=torch.float64))  # ln of the ln of the ratio of two lengths


def directions(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Uniform directions of whole images: (B, *item) float64, each of length 1."""
    z = torch.randn(tuple(shape), generator=generator, device=device, dtype=torch.float64)
    length = z.flatten(1).norm(dim=1) if len(shape) > 1 else z.abs()
    return z / length.reshape(-1, *[1] * (len(shape) - 1))


class Sphere(JointLaw):
    """Uniform on the sphere of radius sqrt(d), d the number of elements.

    Its K is the matrix (d I - n n^T) / (d - 1): no number for each image or element. It nears I as d grows, so the
    Gaussian's step is nearly right for large images.
    """

    traits = Traits(
        shared=True, correlated=False, symmetric=True, gaussian=False, closed_under_sums=False, needs="unknown"
    )

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device, *, stein: bool
    ) -> tuple[Tensor, None]:
        return math.sqrt(math.prod(shape[1:])) * directions(shape, generator, device), None


class Radial(JointLaw):
    """A uniform direction times a length R, scaled so that E[R^2] = d.

    For a density p of R, K(n) = R^2 integral over v > 1 of v^(2 - d) p(R v) / p(R), one number for each image: the
    Stein kernel of an elliptical law (Landsman, Vanduffel and Yao 2015).
    """

    def __init__(self, radius: Noise) -> None:
        self.radius = radius
        mean, variance = radius.mean / radius.scale + radius.shift, radius.variance / radius.scale**2
        self.second = mean**2 + variance  # E[R^2] before scaling
        known = radius.base.function("log_prob") is not None
        self.kernel = self._kernel if known else None
        self.traits = Traits(
            shared=True,
            correlated=False,
            symmetric=True,
            gaussian=False,
            closed_under_sums=False,
            needs="scalar" if known else "unknown",
        )

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device, *, stein: bool
    ) -> tuple[Tensor, Tensor | None]:
        size = math.prod(shape[1:])
        r = self._inside(self.radius.draw((shape[0],), generator, device).double())
        ones, scale2 = [1] * (len(shape) - 1), size / self.second
        n = math.sqrt(scale2) * r.reshape(-1, *ones) * directions(shape, generator, device)
        return n, self._kernel(scale2 * r.square(), size).reshape(-1, *ones) if stein else None

    def _inside(self, r: Tensor) -> Tensor:
        """Rounding may carry a length to an end of the support, where there is no density."""
        low, high = self.radius.base.support
        return r.clamp(low + torch.finfo(r.dtype).tiny, high * (1.0 - torch.finfo(r.dtype).eps))

    def _kernel(self, square: Tensor, size: int) -> Tensor:
        """K of the squared length |n|^2, (B,), by the trapezoidal rule in ln ln v."""
        scale2 = size / self.second
        r = self._inside((square.double() / scale2).sqrt())
        log_prob = self.radius.base.function("log_prob")
        assert log_prob is not None
        (y,) = NODES(r.device)
        w = y.exp()
        logs = (3.0 - size) * w + log_prob(r[:, None] * w.exp()) - log_prob(r)[:, None] + y
        return scale2 * r.square() * logs.exp().sum(1) * (y[1] - y[0])


@register("sphere")
def sphere() -> JointLaw:
    """Uniform on the sphere of radius sqrt(d): every image has exactly the same energy."""
    return Sphere()


@register("radial")
def radial(radius: Mapping[str, object] = GAMMA) -> JointLaw:
    """A uniform direction, and a length of the law `radius`, a positive distribution, scaled to unit energy."""
    law = make_iid_part("radius", radius)
    if not law.base.support[0] >= 0.0:
        raise InputError(
            f"radius: {law.name!r} is not known to be positive; choose one of: exponential, gamma, weibull, lognormal, "
            "beta"
        )
    return Radial(law)
