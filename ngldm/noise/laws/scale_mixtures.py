"""Gaussian noise with one random scale for each image: n = sqrt(A) z, with A > 0 shared by all elements of z.

The elements are uncorrelated but dependent: an image has large noise or small noise. A can take the place of K, so
K_bar is one number for each image. Where E[A | n], a function of |n|, is known, it is K: its conditional mean given x_t
is that of A, and its variance is smaller (Rao and Blackwell). E[A | n] grows with |n|: the posterior of A does. One
element of n has the same law as in an image of any size.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.noise.distribution import Noise, uniform_draw
from ngldm.noise.law import JointLaw, LengthKernel
from ngldm.noise.parameters import number
from ngldm.noise.registry import make_iid, register
from ngldm.noise.traits import Traits

GAUSSIAN_QUARTILE = 0.6744897501960817  # the median of |z| for z of N(0, 1)
LARGE_ORDER, STEPS = 64.0, 16.0  # of a Bessel function; steps of the recurrence after an expansion for large orders
Mixing = Callable[[int, torch.Generator | None, torch.device], Tensor]  # -> (B,) float64 draws of A


class ScaleMixture(JointLaw):
    """n = sqrt(A) z with one draw of A for each image.

    Args:
        mixing: draws A, of mean 1 or, for infinite variance, with the Gaussian's median of |n_i|.
        marginal: the law of one element, where it is registered.
        kernel: E[A | n], convex in n, where it is known.
        finite: whether E[A] is finite.
        stable: whether sums of such noise are such noise.
        gaussian: whether A is always 1.
    """

    def __init__(
        self,
        mixing: Mixing,
        marginal: Noise | None,
        kernel: LengthKernel | None = None,
        *,
        finite: bool = True,
        stable: bool = False,
        gaussian: bool = False,
    ) -> None:
        self.mixing, self.marginal = mixing, marginal
        self.kernel, self.rising = kernel, kernel is not None
        self.second_moment = 1.0 if finite else math.inf
        self.traits = Traits(
            shared=not gaussian,
            correlated=False,
            symmetric=True,
            gaussian=gaussian,
            closed_under_sums=stable,
            needs="nothing" if gaussian else "scalar",
        )

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device, *, stein: bool
    ) -> tuple[Tensor, Tensor]:
        ones = [1] * (len(shape) - 1)
        a = self.mixing(shape[0], generator, device).reshape(-1, *ones)
        n = a.sqrt().float() * torch.randn(tuple(shape), generator=generator, device=device)
        if not stein or self.kernel is None:
            return n, a
        square = n.double().square().reshape(shape[0], -1).sum(1)
        return n, self.kernel(square, math.prod(shape[1:])).reshape(-1, *ones)


def gamma_draw(k: float, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """(count,) float64 draws of Gamma(k), never 0."""
    shape = torch.full((count,), k, dtype=torch.float64, device=device)
    return torch._standard_gamma(shape, generator=generator).clamp(min=torch.finfo(torch.float64).tiny)


def _degrees(key: str, value: object) -> float:
    df = number(key, value, high=1e100)
    if df <= 1.0:
        raise InputError(
            f"{key}: {df:g} must be above 1: with 1 (Cauchy) or less the noise has no mean, which a network could learn"
        )
    return df


def _student(df: float) -> ScaleMixture:
    """One chi^2 for each image: variance 1 for df above 2, else the Gaussian's median of |n_i|."""
    from scipy.special import stdtrit  # not at the top: it would slow the start of every stage

    scale2 = (df - 2.0) / df if df > 2.0 else (GAUSSIAN_QUARTILE / float(stdtrit(df, 0.75))) ** 2

    def mixing(count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        return scale2 * (df / 2.0) / gamma_draw(df / 2.0, count, generator, device)

    def kernel(square: Tensor, size: int) -> Tensor:
        """The posterior of A is inverse gamma with the shape (df + size) / 2."""
        return (scale2 * df + square.double()) / (df + size - 2.0)

    return ScaleMixture(mixing, make_iid("student_t", {"df": df}) if df > 2.0 else None, kernel, finite=df > 2.0)


@register("multivariate_t")
def multivariate_t(df: float = 5.0) -> JointLaw:
    """Student's t with `df` > 1 and one scale for each image. Up to 2 the variance is infinite: the median is matched.

    As in t-EDM (Pandey et al., ICLR 2025). The median is that of |n_i|, set to the Gaussian's 0.674.
    """
    return _student(_degrees("df", df))


@register("pfgmpp")
def pfgmpp(d: float = 128.0) -> JointLaw:
    """PFGM++'s noise with `d` > 1 extra dimensions: multivariate t with df = d.

    Its kernel (|x - y|^2 + r^2)^(-(N + d) / 2) is that density (Xu et al., ICML 2023). d = 128 and 2048 are theirs.
    """
    return _student(_degrees("d", d))


@register("multivariate_laplace")
def multivariate_laplace() -> JointLaw:
    """Laplace with one scale for each image: A is Exp(1), each element is Laplace.

    Kotz, Kozubowski and Podgorski, The Laplace Distribution and Generalizations (2001), chapter 5.
    """

    def mixing(count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        return -uniform_draw((count,), generator, device).log()

    return ScaleMixture(mixing, make_iid("laplace"), laplace_kernel)


def laplace_kernel(square: Tensor, size: int) -> Tensor:
    """E[A | n] for A of Exp(1): sqrt(q / 2) K_(p - 1)(z) / K_p(z), with q = |n|^2, z = sqrt(2 q), p = size / 2 - 1.

    K_p is the modified Bessel function of the second kind: the posterior of A is a generalised inverse Gaussian. The
    ratio follows from a lower order by the recurrence of K_p (Abramowitz and Stegun 9.6.26), which is stable upwards:
    from p = -1/2 or 0, and for many elements from the expansion for large orders, so that the time does not grow with
    their number. Each step of the recurrence makes the expansion's error smaller; it ends below 1e-12.
    """
    z = (2.0 * square.double()).sqrt().clamp(min=1e-150)
    last = size / 2.0 - 1.0
    if last > LARGE_ORDER:
        order = last - STEPS
        ratio = _bessel_ratio(z, order)
    elif size % 2:
        order, ratio = -0.5, 1.0 + 1.0 / z
    else:
        order = 0.0
        ratio = torch.special.scaled_modified_bessel_k1(z) / torch.special.scaled_modified_bessel_k0(z)
    while order < last:
        ratio = 1.0 / (ratio + 2.0 * order / z)
        order += 1.0
    return 0.5 * z * ratio


def _bessel_ratio(z: Tensor, order: float) -> Tensor:
    """K_(p - 1)(z) / K_p(z) at a large order p: -K_p' / K_p - p / z by Debye's expansions (9.7.8 and 9.7.10 there)."""
    root = (order**2 + z.square()).sqrt()
    t = order / root
    u = (
        3.0 * t - 5.0 * t**3,
        81.0 * t**2 - 462.0 * t**4 + 385.0 * t**6,
        30375.0 * t**3 - 369603.0 * t**5 + 765765.0 * t**7 - 425425.0 * t**9,
    )
    v = (
        -9.0 * t + 7.0 * t**3,
        -135.0 * t**2 + 594.0 * t**4 - 455.0 * t**6,
        -42525.0 * t**3 + 451737.0 * t**5 - 883575.0 * t**7 + 475475.0 * t**9,
    )
    scales = (-24.0 * order, 1152.0 * order**2, -414720.0 * order**3)
    value, slope = (1.0 + torch.stack([c / s for c, s in zip(cs, scales, strict=True)]).sum(0) for cs in (u, v))
    return (root * slope / value - order) / z


def positive_stable(k: float, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """(count,) float64 draws of S > 0 with E exp(-s S) = exp(-s^k), 0 < k <= 1 (Kanter 1975, corollary 4.1)."""
    u = math.pi * uniform_draw((count,), generator, device)
    w = -uniform_draw((count,), generator, device).log()
    return (k * u).sin() / u.sin() ** (1.0 / k) * (((1.0 - k) * u).sin() / w) ** ((1.0 - k) / k)


def stable_quartile(alpha: float) -> float:
    """The median of |x| for x with the characteristic function exp(-|u|^alpha), 1 < alpha <= 2.

    P(x <= q) = 1/2 + (1 / pi) integral over u > 0 of sin(u q) / u exp(-u^alpha), by Gauss's rule.
    """
    node, weight = np.polynomial.legendre.leggauss(500)
    u = 25.0 * (node + 1.0)  # exp(-50) is nothing beside 1
    damped = 25.0 * weight * np.exp(-(u**alpha)) / (math.pi * u)
    from scipy.optimize import brentq  # not at the top: it would slow the start of every stage

    return float(brentq(lambda q: float((damped * np.sin(u * q)).sum()) - 0.25, 0.1, 3.0, xtol=1e-13))


@register("isotropic_stable")
def isotropic_stable(alpha: float = 1.8) -> JointLaw:
    """Isotropic alpha-stable, `alpha` in (1, 2]: infinite variance, so the median of |n_i| is matched.

    n = c sqrt(A) z with E exp(i u.sqrt(A) z) = exp(-|u|^alpha), as in DLPM (Shariatian et al., ICLR 2025), whose c is
    1. Here c gives |n_i| the Gaussian's median, 0.674. With alpha = 2 the noise is Gaussian.
    """
    alpha = number("alpha", alpha)
    if not 1.0 < alpha <= 2.0:
        reason = "with 1 (Cauchy) or less the noise has no mean; above 2 there is no such law"
        raise InputError(f"alpha: {alpha:g} must be in (1, 2]: {reason}")
    scale2 = (GAUSSIAN_QUARTILE / stable_quartile(alpha)) ** 2

    def mixing(count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        return 2.0 * scale2 * positive_stable(alpha / 2.0, count, generator, device)

    gaussian = alpha == 2.0
    marginal = make_iid("gaussian") if gaussian else None
    return ScaleMixture(mixing, marginal, finite=gaussian, stable=True, gaussian=gaussian)
