"""Transforms of points (B, d) that make heavy tails light, with their inverses.

A Gaussian diffusion of soft-logged data is the control that a comparison of heavy-tailed noises needs: much of what a
heavy-tailed noise gains on heavy-tailed data can also be gained by transforming the data.
"""

from torch import Tensor

from ngldm.io.errors import unknown
from ngldm.networks.autoencoders.names import TRANSFORMS


def soft_log(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|), per element: about x below 1, logarithmic above. So the unit of the data matters."""
    return x.sign() * x.abs().log1p()


def soft_exp(y: Tensor) -> Tensor:
    """The inverse of `soft_log`: sign(y) (exp|y| - 1)."""
    return y.sign() * y.abs().expm1()


def _rescaled(x: Tensor, radius: Tensor, new: Tensor) -> Tensor:
    """x with the length `radius` changed to `new`; the origin stays."""
    return x * (new / radius.where(radius > 0, 1.0))


def transform(kind: str, x: Tensor) -> Tensor:
    """Points (B, d) as models are trained on them.

    Args:
        kind: "none"; "soft_log": `soft_log` of each coordinate; "soft_log_radius": the length of a point becomes its
            `soft_log`, its direction stays.

    Raises:
        InputError: an unknown kind.
    """
    if kind == "soft_log":
        return soft_log(x)
    if kind == "soft_log_radius":
        radius = x.norm(dim=1, keepdim=True)
        return _rescaled(x, radius, radius.log1p())
    return _unchanged(kind, x)


def inverse_transform(kind: str, y: Tensor) -> Tensor:
    """The inverse of `transform`.

    Raises:
        InputError: an unknown kind.
    """
    if kind == "soft_log":
        return soft_exp(y)
    if kind == "soft_log_radius":
        radius = y.norm(dim=1, keepdim=True)
        return _rescaled(y, radius, radius.expm1())
    return _unchanged(kind, y)


def _unchanged(kind: str, x: Tensor) -> Tensor:
    if kind != "none":
        raise unknown("transform", kind, TRANSFORMS)
    return x
