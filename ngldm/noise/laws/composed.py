"""Laws made of laws: one of them for each image (`choice`), or their weighted sum (`sum`)."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ngldm.io.device import copied_once
from ngldm.io.errors import InputError
from ngldm.noise.distribution import uniform_draw
from ngldm.noise.law import JointLaw, Law, draw_with_stein
from ngldm.noise.laws.annealed import Annealed
from ngldm.noise.laws.coloured import GAUSSIAN
from ngldm.noise.laws.filtered import Filtered, spectrum_of
from ngldm.noise.parameters import number
from ngldm.noise.registry import make_part, register
from ngldm.noise.traits import Needs, Traits

STUDENT: Mapping[str, object] = {"distribution": "multivariate_t", "df": 5.0}
OFFSET: Mapping[str, object] = {"distribution": "offset", "strength": 0.5}


class Composed(JointLaw):
    """What a choice and a sum of laws have in common.

    K is known where no part is correlated and the K of each part is known: one number for each image if that is so for
    each part, else one for each element.
    """

    def __init__(self, parts: Sequence[Law], shared: bool) -> None:
        self.parts = parts
        self.axes = max(part.axes if isinstance(part, JointLaw) else 0 for part in parts)
        self.leading = max((part.leading if isinstance(part, JointLaw) else () for part in parts), key=len)
        self.second_moment = max(part.second_moment for part in parts)
        traits = [part.traits for part in parts]
        self.traits = Traits(
            shared=shared or any(trait.shared for trait in traits),
            correlated=any(trait.correlated for trait in traits),
            symmetric=all(trait.symmetric for trait in traits),
            gaussian=False,
            closed_under_sums=False,
            needs=self._needs(traits),
        )

    @staticmethod
    def _needs(traits: Sequence[Traits]) -> Needs:
        needs = {trait.needs for trait in traits}
        if "unknown" in needs or any(trait.correlated for trait in traits):
            return "unknown"
        return "scalar" if needs <= {"nothing", "scalar"} else "element"

    def check_item(self, item: Sequence[int]) -> None:
        for part in self.parts:
            part.check_item(item)

    def colour(self, z: Tensor) -> Tensor:
        if self.traits.correlated:
            raise InputError(f"noise {self.name!r}: its parts differ in their correlation, so it has no single filter")
        return z

    def draw_parts(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device, stein: bool
    ) -> list[tuple[Tensor, Tensor | None]]:
        """n and K of each part; K has one number for each image where all parts have that."""
        if not stein:
            return [(part.sample(shape, generator, device), None) for part in self.parts]
        drawn: list[tuple[Tensor, Tensor | None]] = []
        for part in self.parts:
            n, k = draw_with_stein(part, shape, generator, device)
            whole = self.traits.needs == "scalar" and part.traits.needs == "nothing"  # K is 1 at each element
            drawn.append((n, k.flatten(1)[:, :1].reshape(-1, *[1] * (n.dim() - 1)) if whole and n.dim() > 1 else k))
        return drawn


class Choice(Composed):
    """For each image, noise of one of the laws, drawn with the given probabilities."""

    def __init__(self, parts: Sequence[Law], weights: Sequence[float]) -> None:
        super().__init__(parts, shared=True)
        self.borders = copied_once(torch.tensor(weights, dtype=torch.float64).cumsum(0)[:-1])

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device, *, stein: bool
    ) -> tuple[Tensor, Tensor | None]:
        which = torch.bucketize(uniform_draw(shape[:1], generator, device), *self.borders(device))
        which = which.reshape(-1, *[1] * (len(shape) - 1))
        n, k = (None, None)
        for index, (own, own_k) in enumerate(self.draw_parts(shape, generator, device, stein)):
            n = own if n is None else torch.where(which == index, own, n)
            k = own_k if k is None or own_k is None else torch.where(which == index, own_k, k)
        assert n is not None
        return n, k


class Sum(Composed):
    """The sum of independent noise of the laws, times weights whose squares sum to 1. K is the sum of w^2 K."""

    def __init__(self, parts: Sequence[Law], weights: Sequence[float]) -> None:
        super().__init__(parts, shared=False)
        self.weights = weights

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device, *, stein: bool
    ) -> tuple[Tensor, Tensor | None]:
        n = torch.zeros(tuple(shape), device=device)
        k = torch.zeros([shape[0]] + [1] * (len(shape) - 1), device=device) if stein else None
        for weight, (own, own_k) in zip(self.weights, self.draw_parts(shape, generator, device, stein), strict=True):
            n = n + weight * own
            k = k if k is None or own_k is None else k + weight**2 * own_k
        return n, k


def _parts(laws: object, weights: object) -> tuple[list[Law], list[float]]:
    """The laws, and as many weights above 0."""
    for key, values in (("laws", laws), ("weights", weights)):
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) < 2:
            raise InputError(f"{key}: {values!r} must be a list of at least 2 entries")
    assert isinstance(laws, Sequence)
    assert isinstance(weights, Sequence)
    if len(laws) != len(weights):
        raise InputError(f"weights: {len(weights)} values, but there are {len(laws)} laws")
    parts = [make_part(f"laws[{i}]", options) for i, options in enumerate(laws)]
    for i, part in enumerate(parts):
        if abs(part.mean) > 1e-9:
            raise InputError(f"laws[{i}]: {part.name!r} has mean {part.mean:g}; it must have mean 0")
        if isinstance(part, Annealed):
            raise InputError(f"laws[{i}]: the law of {part.name!r} changes with t; it must be the same at all t")
    return parts, [number(f"weights[{i}]", weight, 0.0) for i, weight in enumerate(weights)]


@register("choice")
def choice(
    laws: Sequence[Mapping[str, object]] = (GAUSSIAN, STUDENT), weights: Sequence[float] = (0.5, 0.5)
) -> JointLaw:
    """For each image, noise of one of `laws`, chosen with the probabilities `weights`, which sum to 1."""
    parts, shares = _parts(laws, weights)
    if abs(math.fsum(shares) - 1.0) > 1e-6:
        raise InputError(f"weights: {list(weights)} must sum to 1, sum to {math.fsum(shares):g}")
    return Choice(parts, shares)


@register("sum")
def sum_of_laws(
    laws: Sequence[Mapping[str, object]] = (STUDENT, OFFSET), weights: Sequence[float] = (1.0, 1.0)
) -> JointLaw:
    """The sum of independent noise of `laws`, with amplitudes in the ratio of `weights`, scaled to unit energy."""
    parts, amplitudes = _parts(laws, weights)
    for i, part in enumerate(parts):
        if not math.isfinite(part.second_moment):
            raise InputError(f"laws[{i}]: {part.name!r} has infinite variance; a sum of unit energy needs a finite one")
    total = math.hypot(*amplitudes)
    amplitudes = [a / total for a in amplitudes]
    if all(part.traits.gaussian and (isinstance(part, Filtered) or not part.traits.correlated) for part in parts):
        # a Gaussian, whose spectrum is the weighted sum

        def spectrum(h: int, w: int) -> Tensor:
            powers = [spectrum_of(part, (1, h, w)) for part in parts]
            return torch.stack([a**2 * p for a, p in zip(amplitudes, powers, strict=True) if p is not None]).sum(0)

        return Filtered(spectrum, make_part("laws", GAUSSIAN))
    return Sum(parts, amplitudes)
