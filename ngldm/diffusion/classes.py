"""The classes of the data: their names, the class of each generated image, and a loss that learns them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ngldm.diffusion.preconditioning import Network
from ngldm.diffusion.process import Diffusion
from ngldm.io.errors import InputError, require_real, require_whole, shown
from ngldm.io.files import entry

MAX_COUNT = 2**53  # training images of a class: larger numbers are no exact floats
ClassNetwork = Callable[[Tensor, Tensor, Tensor], Tensor]  # network(x_t (B, ...), t (B,), labels (B,))
LabelledLoss = Callable[[ClassNetwork, tuple[Tensor, Tensor], torch.Generator | None, slice | None], Tensor]
Asked = str | int | Sequence[str | int]  # classes by name or number
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio


@dataclass(frozen=True)
class Classes:
    """K classes, numbered from 0. Number K means no class.

    Attributes:
        names: one for each class.
        counts: of training images, one for each class. Generated images have the same proportions unless classes are
            asked for.
        label_dropout: probability that training gives a network no class instead of the image's own, in [0, 1]. With 0
            there is no guidance: the prediction without a class is not learned.

    Raises:
        InputError: fewer than two classes, names or counts that do not fit, or a probability out of range.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise InputError(f"network.num_classes: {len(self.names)}, must be at least 2: the data have no classes")
        if len(set(self.names)) < len(self.names) or len(self.counts) != len(self.names):
            raise InputError(
                f"classes: {len(set(self.names))} different names and {len(self.counts)} counts do not fit"
            )
        for count in self.counts:
            require_whole("classes.counts", count, 0, MAX_COUNT)
        if not sum(self.counts):
            raise InputError("classes.counts: all are 0")
        if not 0.0 <= require_real("network.label_dropout", self.label_dropout) <= 1.0:
            raise InputError(f"network.label_dropout: {self.label_dropout} must be in [0, 1]")

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> "Classes":
        """The classes in the settings of a model: `names`, `counts` and `label_dropout`.

        Raises:
            InputError: one is missing or not allowed.
        """
        names, counts = (tuple(entry(settings, key, list)) for key in ("names", "counts"))
        return cls(tuple(str(name) for name in names), counts, entry(settings, "label_dropout", float))

    def settings(self) -> dict[str, object]:
        """What `of` reads."""
        return {"names": list(self.names), "counts": list(self.counts), "label_dropout": float(self.label_dropout)}

    def number(self, asked: str | int) -> int:
        """The number of a class, asked for by its name or its number; a text is first looked up among the names.

        Raises:
            InputError: there is no such class.
        """
        if isinstance(asked, str):
            if asked in self.names:
                return self.names.index(asked)
            digits = len(str(len(self.names)))  # int() raises an error of its own for thousands of digits
            if not asked.isdecimal() or len(asked.lstrip("0")) > digits or int(asked) >= len(self.names):
                some = ", ".join([*self.names[:20], *(["..."] if len(self.names) > 20 else [])])
                raise InputError(
                    f"unknown class {shown(asked)}; choose a name or a number below {len(self.names)}: {some}"
                )
            return int(asked)
        return require_whole("class", asked, 0, len(self.names) - 1)

    def numbers(self, asked: Asked) -> list[int]:
        """The numbers of one class or of several.

        Raises:
            InputError: there is no such class, or none is asked for.
        """
        several = [asked] if isinstance(asked, str | int) else list(asked)
        if not several:
            raise InputError("classes: [] must have at least one class")
        return [self.number(one) for one in several]

    def labels(self, indices: Sequence[int], asked: Asked | None = None) -> Tensor:
        """The classes (B,) int64 of the images with these numbers. They depend on an image's number alone.

        Args:
            indices: the images' numbers, from 0.
            asked: image number i has class number i mod n of these n. None means the proportions of the training
                images: i over the golden ratio, modulo 1, falls into the interval of its class. Any run of numbers has
                the proportions up to a few images (a sequence of low discrepancy).

        Raises:
            InputError: there is no such class.
        """
        if asked is not None:
            chosen = self.numbers(asked)
            return torch.tensor([chosen[index % len(chosen)] for index in indices], dtype=torch.long)
        ends = np.cumsum(np.array(self.counts, dtype=np.float64)) / sum(self.counts)
        places = np.array([((index + 1) * GOLDEN % 2**64) / 2.0**64 for index in indices], dtype=np.float64)
        found = np.searchsorted(ends, places, side="right").clip(max=self._last)
        return torch.from_numpy(found.astype(np.int64))

    @property
    def _last(self) -> int:
        """The last class that has training images; rounding must lead to no other."""
        return max(number for number, count in enumerate(self.counts) if count)

    def drop(self, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Labels (B,), some of them replaced by "no class", on the device of `labels`."""
        device = generator.device if generator else labels.device
        dropped = torch.rand(len(labels), generator=generator, device=device) < self.label_dropout
        return labels.masked_fill(dropped.to(labels.device), len(self.names))

    def loss(self, diffusion: Diffusion) -> LabelledLoss:
        """The loss of a batch of x_0 and labels, as `Diffusion.loss`, for `ngldm.training.task.Task`.

        Which labels are dropped is drawn from the same generator, for the whole batch.
        """

        def loss(
            network: ClassNetwork,
            batch: tuple[Tensor, Tensor],
            generator: torch.Generator | None = None,
            part: slice | None = None,
        ) -> Tensor:
            x0, labels = batch
            labels = self.drop(labels, generator)
            return diffusion.loss(given(network, labels[part or slice(None)]), x0, generator, part)

        return loss


def given(network: ClassNetwork, labels: Tensor) -> Network:
    """The network for images of these classes (B,)."""
    return lambda x, t: network(x, t, labels)
