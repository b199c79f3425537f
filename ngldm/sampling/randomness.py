"""Where a sampler's randomness comes from: x_T and the noise of its steps, with a seed per image.

An image's noise depends on its seed and not on which others are in the batch. It is drawn on the CPU, whatever the
device, so that a seed means the same noise everywhere.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ngldm.data.cache.statistics import LatentExtent
from ngldm.diffusion.forward import Forward
from ngldm.diffusion.schedules import Schedule
from ngldm.io.device import sent
from ngldm.noise import Law, Noise, make_noise
from ngldm.sampling.names import check_noise_choice

Draw = Callable[[Sequence[int], torch.Generator], Tensor]  # (shape, generator) -> float32 on the CPU
Source = Callable[[], Tensor]  # each call returns fresh noise of mean 0 and variance 1, in the shape of x_t
BLOCK = 2**14  # numbers that an image's generator draws at once
GROUP = 32  # numbers that torch computes in the same way; it treats the rest of a tensor, and the last 16, differently
# Laws with a `draw` of their own that take each number from the generator before the next.
ONE_DRAW = ("bernoulli", "binomial", "gamma", "gaussian", "poisson")


def step_law(choice: str, noise: Law, key: str = "step_noise") -> Law:
    """The noise of the sampler's steps: "own" is the model's, "averaged:4" the standardised mean of 4 draws of it.

    Raises:
        InputError: on an unknown choice.
    """
    check_noise_choice(key, choice)
    if choice == "own":
        return noise
    if choice == "gaussian":
        return make_noise("gaussian")
    base = {"distribution": noise.name, **noise.params}
    return make_noise("averaged", {"base": base, "n": int(choice.removeprefix("averaged:"))})


def start_choice(choice: str | None, noise: Law) -> str:
    """The start that a choice means for a noise: None is "own", but "x_T" for discrete noise; see `start_draw`."""
    return choice or ("x_T" if isinstance(noise, Noise) and noise.base.discrete else "own")


def start_draw(choice: str | None, forward: Forward, schedule: Schedule, extent: LatentExtent) -> Draw:
    """How x_T is drawn.

    None is "own", but "x_T" for discrete noise: "own" takes few values there (two at each position, for bernoulli),
    and a deterministic sampler makes as few images of them.
    "own" is the noise that x_T carries in training: one draw of D (forward: marginal), or the chain's (markov).
    "x_T" adds what is left of the image where a_T is not 0: a_T x_0 + b_T eps, x_0 normal with the training latents'
    mean and deviation at each position.
    All others are scaled by sqrt(a_T^2 + b_T^2), the deviation of x_T for x_0 of variance 1 (EDM: about 80).

    Raises:
        InputError: on an unknown choice.
    """
    choice = start_choice(choice, forward.noise)
    deviation = float(schedule.power[-1]) ** 0.5
    last = schedule.num_train_timesteps

    def own(shape: Sequence[int], generator: torch.Generator) -> Tensor:
        t = torch.full((shape[0],), last)
        return forward.sample(shape, t, generator)

    if choice == "own":
        return lambda shape, generator: deviation * own(shape, generator)
    if choice == "x_T":
        signal, noise = float(schedule.signal[last]), float(schedule.noise[last])
        mean, std = extent.mean.cpu(), extent.std.cpu()
        return lambda shape, generator: (
            signal * (mean + std * torch.randn(tuple(shape), generator=generator, dtype=torch.float32))
            + noise * own(shape, generator)
        )
    other = step_law(choice, forward.noise, "start_noise")
    return lambda shape, generator: deviation * other.sample(shape, generator)


def _draws_in_order(law: Law) -> bool:
    """Whether the first of many numbers that the law draws are those that it draws if fewer are asked for.

    They are if each number needs one draw, as through `icdf`. A law that draws all of one kind before all of another,
    such as the parts of a mixture, gives other numbers.
    """
    return isinstance(law, Noise) and (law.base.draw is None or law.name in ONE_DRAW)


class PerImageNoise:
    """A source with one generator per image, drawing blocks of several steps at once.

    Thousands of tiny draws would cost more than the network. A block's length follows from the image's size alone:
    the numbers must not depend on the batch. The last block ends where the sampler does, if that changes no number.

    Args:
        law: of the noise.
        shape: of an image.
        generators: of the images, on the CPU.
        device: where the noise goes.
        steps: the largest number of calls; None sets no limit.
    """

    def __init__(
        self,
        law: Law,
        shape: Sequence[int],
        generators: Sequence[torch.Generator],
        device: torch.device | str = "cpu",
        steps: int | None = None,
    ) -> None:
        self.law, self.shape, self.device = law, tuple(shape), torch.device(device)
        self.generators, self.left = list(generators), steps
        self.numel = int(torch.Size(self.shape).numel())
        self.block = max(1, BLOCK // self.numel)
        self.buffer = torch.empty(0)
        self.used = 0

    def __call__(self) -> Tensor:
        """(B, *shape): the next draw of every image.

        Raises:
            IndexError: it has been called `steps` times.
        """
        if self.left == 0:
            raise IndexError("a sampler has asked for noise more often than it has steps")
        if self.used == len(self.buffer):
            length = self._length()
            draws = [self.law.sample((length, *self.shape), g) for g in self.generators]
            self.buffer, self.used = sent(torch.stack(draws, dim=1), self.device), 0
        if self.left is not None:
            self.left -= 1
        self.used += 1
        return self.buffer[self.used - 1]

    def _length(self) -> int:
        """Steps of the next block."""
        if self.left is None or not _draws_in_order(self.law):
            return self.block
        whole = GROUP // math.gcd(GROUP, self.numel)  # steps that fill groups
        length = -(-self.left // whole) * whole
        return length if (self.block - length) * self.numel >= GROUP else self.block


def start_per_image(
    draw: Draw, shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device | str = "cpu"
) -> Tensor:
    """(B, *shape): x_T of every image, from its own generator."""
    return sent(torch.cat([draw((1, *shape), g) for g in generators]), torch.device(device))
