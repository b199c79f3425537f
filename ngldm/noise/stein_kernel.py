"""The Stein kernel of a density p of mean m: K(x) = (1 / p(x)) * integral from x to infinity of (y - m) p(y) dy >= 0.

It is the function with E[(x - m) f(x)] = E[K(x) f'(x)] for smooth f (Stein 1986, lecture VI), and E[K] is the variance.
A sampler that adds noise needs it (`ngldm.sampling.stein`). For Pearson's family, which has the normal, gamma,
beta and Student's t, K is a polynomial of degree 2 at most; those one-line forms stand beside the distributions. Here
are the longer ones, and a table by quadrature for all other densities. All work in float64.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ngldm.io.device import copied_once

LogDensity = Callable[[Tensor], Tensor]
Kernel = Callable[[Tensor], Tensor]
PER_OCTAVE = 32  # nodes of the table between |x| and 2 |x|
OCTAVES = 40  # below 1 deviation
NEGLIGIBLE = -80.0  # ln of x^2 p(x) where the table ends on an infinite side
STEEP = 0.05  # change of ln p between an end of a panel and the next point of the rule; above, p may jump there
TOLERANCE = 1e-10  # relative, of the quadrature over one panel
HALVINGS = 50  # of a panel, at most: where p jumps or has a pole
# Points and weights of Gauss and Legendre's rule of order 6 on (-1, 1): Abramowitz and Stegun, table 25.4
POINTS = (0.2386191860831969, 0.6612093864662645, 0.9324695142031521)
WEIGHTS = (0.4679139345726910, 0.3607615730481386, 0.1713244923791704)


def logistic(x: Tensor) -> Tensor:
    """K of the logistic distribution: (|x| s(-|x|) + ln(1 + e^-|x|)) / (s(x) s(-x)) with the sigmoid s."""
    size = x.abs()
    other = torch.sigmoid(-size)
    k: Tensor = (size * other + F.softplus(-size)) / (other * torch.sigmoid(size))
    return k


def generalized_normal(x: Tensor, beta: float) -> Tensor:
    """K of the density ~ exp(-|x|^beta): e^z Gamma(2 / beta, z) / beta at z = |x|^beta."""
    z = (x.abs() ** beta).clamp(max=600.0)  # no draw is beyond; there the incomplete gamma function has no digits left
    rest = torch.special.gammaincc(torch.full_like(z, 2.0 / beta), z)
    kernel: Tensor = (z + math.lgamma(2.0 / beta) - math.log(beta)).exp() * rest
    return kernel


def weibull(x: Tensor, k: float) -> Tensor:
    """K of the Weibull distribution, from the incomplete gamma functions of 1 + 1 / k at z = x^k."""
    z, mean = x**k, math.gamma(1.0 + 1.0 / k)
    a = torch.full_like(z, 1.0 + 1.0 / k)
    below = -torch.expm1(-z) - torch.special.gammainc(a, z)  # the same number; each form has digits on its own side
    above = torch.special.gammaincc(a, z) - (-z).exp()
    kernel: Tensor = mean * torch.where(z < 1.0, below, above) * z.exp() * x / (k * z)
    return kernel


def mills(x: Tensor) -> Tensor:
    """(1 - Phi(x)) / phi(x) of the normal distribution (Mills' ratio)."""
    ratio: Tensor = math.sqrt(math.pi / 2.0) * torch.special.erfcx(x / math.sqrt(2.0))
    return ratio


def lognormal(x: Tensor, sigma: float) -> Tensor:
    """K of exp of a normal of deviation sigma, from Mills' ratio at u = ln(x) / sigma and u - sigma."""
    u, mean = x.log() / sigma, math.exp(sigma**2 / 2.0)
    above = x * mills(u - sigma) - mean * mills(u)
    below = mean * mills(-u) - x * mills(sigma - u)
    return x * sigma * torch.where(u < 0.5 * sigma, below, above)


def gaussian_mixture(x: Tensor, weights: Tensor, means: Tensor, stds: Tensor) -> Tensor:
    """K of a mixture of normals whose total mean is 0: sum of w (s^2 phi + m Phi(-z)) / p, on the side away from 0."""
    w, m, s = weights, means, stds
    z = (x.unsqueeze(-1) - m) / s
    log_density = w.log() - s.log() - 0.5 * z**2 - 0.5 * math.log(2.0 * math.pi)
    side = torch.where(x < 0.0, -1.0, 1.0).unsqueeze(-1)
    log_tail = w.log() + torch.special.log_ndtr(-side * z)
    total = log_density.logsumexp(-1, keepdim=True)
    kernel: Tensor = (s**2 * (log_density - total).exp() + side * m * (log_tail - total).exp()).sum(-1)
    return kernel


def tabulated(log_prob: LogDensity, support: tuple[float, float]) -> Kernel:
    """K of any density of mean 0 and variance 1, by quadrature.

    A table holds the integral beyond each of its nodes; the rest, up to x, is integrated for each x. So K follows jumps
    and poles of p. The relative error is below 1e-6 up to the largest of 10^15 draws. Beyond the table, K is that of
    its end.

    Args:
        log_prob: of float64 numbers; -inf outside the support.
        support: the open interval where p > 0; either end may be infinite.
    """
    edges, mass = _panels(log_prob, support)
    upper = torch.cat([mass.flip(0).cumsum(0).flip(0), mass.new_zeros(1)])
    lower = torch.cat([mass.new_zeros(1), -mass.cumsum(0)])
    return partial(_looked_up, log_prob=log_prob, table=copied_once(edges, torch.where(edges < 0.0, lower, upper)))


def _looked_up(x: Tensor, log_prob: LogDensity, table: Callable[[torch.device], tuple[Tensor, ...]]) -> Tensor:
    """The integral beyond x over p(x): the table's at the next node away from 0, and the part between."""
    edges, beyond = table(x.device)
    x = x.clamp(edges[1], edges[-2])
    right = torch.searchsorted(edges, x.contiguous()).clamp(1, len(edges) - 1)
    node = torch.where(x < 0.0, right - 1, right)
    rest = _gauss(log_prob, torch.minimum(x, edges[node]), torch.maximum(x, edges[node])).abs()
    return ((beyond[node] + rest).log() - log_prob(x)).exp()


def _panels(log_prob: LogDensity, support: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Edges (n + 1,), ascending, and the integral of y p(y) between them (n,): panels are halved until it is exact."""
    edges = _first_edges(log_prob, support)
    left, right = edges[:-1], edges[1:]
    done: list[tuple[Tensor, Tensor]] = []
    for _ in range(HALVINGS):
        middle = 0.5 * (left + right)
        whole = _gauss(log_prob, left, right)
        halves = _gauss(log_prob, left, middle) + _gauss(log_prob, middle, right)
        bad = ((whole - halves).abs() > TOLERANCE * halves.abs()) | _steep(log_prob, left, right)
        bad &= (middle > left) & (middle < right)
        done.append((left[~bad], halves[~bad]))
        left, right = torch.cat([left[bad], middle[bad]]), torch.cat([middle[bad], right[bad]])
        if not len(left):
            break
    done.append((left, _gauss(log_prob, left, right)))
    starts, mass = (torch.cat(parts) for parts in zip(*done, strict=True))
    order = starts.argsort()
    return torch.cat([starts[order], edges[-1:]]), mass[order]


def _steep(log_prob: LogDensity, left: Tensor, right: Tensor) -> Tensor:
    """Whether ln p changes fast beside an end of a panel, where the rule has no point and would miss a jump."""
    inset = 0.25 * (1.0 - POINTS[-1]) * (right - left)  # the first point of the rule on half a panel
    beside = (log_prob(left + inset) - log_prob(left)).abs() + (log_prob(right - inset) - log_prob(right)).abs()
    return ~(beside < STEEP)


def _first_edges(log_prob: LogDensity, support: tuple[float, float]) -> Tensor:
    """Edges that are even in ln |x| on both sides of 0, up to the ends of the support."""
    low, high = (end if math.isfinite(end) else _far(log_prob, end) for end in support)
    octaves = math.ceil(math.log2(max(-low, high)))
    powers = torch.arange(-OCTAVES * PER_OCTAVE, octaves * PER_OCTAVE + 1, dtype=torch.float64) / PER_OCTAVE
    sizes = 2.0**powers
    inner = torch.cat([-sizes.flip(0), sizes.new_zeros(1), sizes])
    ends = torch.tensor([low, high], dtype=torch.float64)
    return torch.cat([ends[:1], inner[(inner > low) & (inner < high)], ends[1:]])


def _far(log_prob: LogDensity, end: float) -> float:
    """A power of 2, with the sign of `end`, beyond which x^2 p(x) is negligible."""
    size = 1.0
    while size < 2.0**200:
        at = torch.tensor(math.copysign(size, end), dtype=torch.float64)
        if float(log_prob(at)) + 2.0 * math.log(size) < NEGLIGIBLE:
            break
        size *= 2.0
    return math.copysign(size, end)


def _gauss(log_prob: LogDensity, left: Tensor, right: Tensor) -> Tensor:
    """The integral of y p(y) over each panel, by Gauss and Legendre's rule of order 6."""
    middle, half = 0.5 * (left + right), 0.5 * (right - left)
    total = torch.zeros_like(left)
    for point, weight in zip(POINTS, WEIGHTS, strict=True):
        for sign in (-1.0, 1.0):
            y = middle + sign * point * half
            total += weight * y * log_prob(y).exp()
    return total * half
