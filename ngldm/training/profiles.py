"""Power-function averages of weights, and any length of them from a few (Karras et al. 2024, EDM2).

"Analyzing and improving the training dynamics of diffusion models", section 3 and appendix C. The average at step t
weighs the weights of step s <= t in proportion to s^gamma: it forgets the beginning, and its length grows with the
training. The relative length sigma_rel is the standard deviation of the profile divided by t.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ngldm.training.names import check_length


class Profile(NamedTuple):
    """The average at a step: density (gamma + 1) s^gamma / step^(gamma + 1) of s in (0, step)."""

    step: int
    gamma: float


def gamma_of(sigma_rel: float, key: str = "sigma_rel") -> float:
    """The exponent gamma of a relative length: the root that is at least 0 of a cubic (their equation 126).

    Args:
        sigma_rel: above 0, at most 12^-1/2 = 0.2887, that of the plain mean.
        key: what the message begins with.

    Raises:
        InputError: it is out of range.
    """
    t = check_length(sigma_rel, key) ** -2  # (gamma + 2)^2 (gamma + 3) = (gamma + 1) t
    return max(0.0, float(np.roots([1.0, 7.0, 16.0 - t, 12.0 - t]).real.max()))


def decay_at(gamma: float, step: int) -> float:
    """The decay of the average at a step, from 1: (1 - 1 / step)^(gamma + 1) (their equation 127).

    The first step takes the weights whole. With this decay the average weighs the weights of step s by the integral of
    the profile from s - 1 to s.
    """
    return math.exp((gamma + 1.0) * math.log1p(-1.0 / step)) if step > 1 else 0.0


def inner_products(left: Sequence[Profile], right: Sequence[Profile]) -> NDArray[np.float64]:
    """The integrals of the products of two profiles, in closed form (their equation 151): (left, right)."""
    (t, a), (u, b) = np.array(left, np.float64).T[:, :, None], np.array(right, np.float64).T[:, None, :]
    shorter, longer = np.minimum(t, u), np.maximum(t, u)
    exponent = np.where(t < u, b, a)  # that of the longer one, which is cut where the shorter one ends
    products: NDArray[np.float64] = (a + 1.0) * (b + 1.0) / (a + b + 1.0) * (shorter / longer) ** exponent / longer
    return products


def combination(kept: Sequence[Profile], wanted: Profile) -> tuple[NDArray[np.float64], float]:
    """The combination of kept averages that comes closest to a wanted one, in the least squares of their profiles.

    Returns:
        A coefficient for each of the kept, and the relative error: the norm of what is left of the wanted profile,
        divided by its norm. The coefficients can be negative; their sum is near 1 if the error is small.
    """
    gram, target = inner_products(kept, kept), inner_products(kept, [wanted])[:, 0]
    found = np.linalg.lstsq(gram, target, rcond=None)[0].astype(np.float64)
    norm = float(inner_products([wanted], [wanted])[0, 0])
    left = norm - float(2.0 * found @ target - found @ gram @ found)
    return found, math.sqrt(max(0.0, left) / norm)
