"""Where a sampler's randomness comes from: x_T and the noise of its steps, with a seed per image.

An image's noise depends on its seed and not on which others are in the batch. It is drawn on the CPU, whatever the
device, so that a seed means the same noise everywhere.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ngldm.data.statistics import LatentExtent
from ngldm.diffusion.forward import Forward
from ngldm.diffusion.schedules import Schedule
from ngldm.noise import Law, Noise, make_noise
from ngldm.sampling.names import check_noise_choice

Draw = Callable[[Sequence[int], torch.Generator], Tensor]  # (shape, generator) -> float32 on the CPU
Source = Callable[[], Tensor]  # each call returns fresh noise of mean 0 and variance 1, in the shape of x_t


def _choose_noise(choice: str, noise: Law, key: str) -> Law:
    """The noise that a choice names: "own" is the model's, "averaged:4" the standardised mean of 4 draws of it."""
    check_noise_choice(key, choice)
    if choice == "own":
        return noise
    if choice == "gaussian":
        return make_noise("gaussian")
    base = {"distribution": noise.name, **noise.params}
    return make_noise("averaged", {"base": base, "n": int(choice.removeprefix("averaged:"))})


def step_draw(choice: str, noise: Law, key: str = "step_noise") -> Draw:
    """How the noise of the sampler's steps is drawn.

    Raises:
        InputError: on an unknown choice.
    """
    chosen = _choose_noise(choice, noise, key)
    return lambda shape, generator: chosen.sample(shape, generator)


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
    other = step_draw(choice, forward.noise, "start_noise")
    return lambda shape, generator: deviation * other(shape, generator)


class PerImageNoise:
    """A source with one generator per image, drawing blocks of several steps at once.

    Thousands of tiny draws would cost more than the network. A block's length follows from the image's size alone:
    the numbers must not depend on the batch.
    """

    def __init__(
        self,
        draw: Draw,
        shape: Sequence[int],
        generators: Sequence[torch.Generator],
        device: torch.device | str = "cpu",
    ) -> None:
        self.draw, self.shape, self.device = draw, tuple(shape), torch.device(device)
        self.generators = list(generators)
        self.block = max(1, 2**14 // int(torch.Size(self.shape).numel()))
        self.buffer: Tensor | None = None
        self.used = 0

    def __call__(self) -> Tensor:
        """(B, *shape): the next draw of every image."""
        if self.buffer is None or self.used == self.block:
            draws = [self.draw((self.block, *self.shape), g) for g in self.generators]
            self.buffer, self.used = torch.stack(draws, dim=1), 0
        self.used += 1
        return self.buffer[self.used - 1].to(self.device)


def start_per_image(
    draw: Draw, shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device | str = "cpu"
) -> Tensor:
    """(B, *shape): x_T of every image, from its own generator."""
    return torch.cat([draw((1, *shape), g) for g in generators]).to(device)
