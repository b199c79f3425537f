"""Samplers: from noise of D at t = T down to a latent at t = 0. One signature, any noise distribution.

Each starts from D and, where it adds noise, adds noise of D. `source(t)` supplies that noise, so that the caller
decides where randomness comes from: `noise_source` draws from one generator, `PerImageNoise` from one seed per image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.errors import InputError, unknown
from ngldm.noise import Noise
from ngldm.schedules import Schedule, inference_timesteps

Model = Callable[[Tensor, Tensor], Tensor]  # eps_theta(x_t (B, ...), t (B,)) -> (B, ...)
Source = Callable[[], Tensor]  # each call: a fresh draw of D, in the shape of x_t


@dataclass(frozen=True)
class Step:
    """What a callback sees of each step, before the step is made.

    Attributes:
        index: 0 .. num_inference_steps - 1.
        t, t_next: the step leads from t down to t_next (0 for the last step).
        x: (B, ...) x_t.
        x0: (B, ...) the prediction of x_0 from x_t.
    """

    index: int
    t: int
    t_next: int
    x: Tensor
    x0: Tensor


Callback = Callable[[Step], None]


class PerImageNoise:
    """A noise source with one seed per image: an image's noise does not depend on which others are in the batch.

    Noise is drawn on the CPU, whatever the device, so that a seed means the same noise everywhere, and in blocks of
    several steps at once, since thousands of tiny draws would cost more than the network. A block's length
    follows from the image's size alone: the numbers must not depend on the batch.
    """

    def __init__(
        self, noise: Noise, shape: Sequence[int], seeds: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        self.noise, self.shape, self.device = noise, tuple(shape), torch.device(device)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.block = max(1, 2**14 // int(torch.Size(self.shape).numel()))
        self.buffer: Tensor | None = None
        self.used = 0

    def __call__(self) -> Tensor:
        """(B, *shape): the next draw of every image."""
        if self.buffer is None or self.used == self.block:
            draws = [self.noise.sample((self.block, *self.shape), g) for g in self.generators]
            self.buffer, self.used = torch.stack(draws, dim=1), 0
        self.used += 1
        return self.buffer[self.used - 1].to(self.device)


def noise_source(
    noise: Noise, shape: Sequence[int], generator: torch.Generator | None, device: torch.device | str = "cpu"
) -> Source:
    """A source that draws whole batches from one generator on `device`."""
    return lambda: noise.sample(shape, generator, device)


def _step_sizes(schedule: Schedule, num_inference_steps: int) -> list[tuple[int, int]]:
    timesteps = inference_timesteps(schedule.num_train_timesteps, num_inference_steps)
    return list(zip(timesteps, [*timesteps[1:], 0], strict=True))


@torch.no_grad()
def ancestral(
    model: Model,
    schedule: Schedule,
    source: Source,
    *,
    num_inference_steps: int,
    variance: str = "beta",
    callback: Callback | None = None,
) -> Tensor:
    """Algorithm 2: DDPM's ancestral sampling with noise of D at every step but the last.

    With fewer steps than T, the betas are those of the respaced chain: 1 - abar_t / abar_s for a step from t to s
    (Nichol and Dhariwal 2021); with T steps they are beta_t, and the update is the paper's, its 1/sqrt(alpha_t)
    read as its code has it.

    Args:
        variance: "beta" for nu^2 = beta_t (the paper's code), "posterior" for DDPM's smaller
            beta_t (1 - abar_s) / (1 - abar_t).
    """
    if variance not in ("beta", "posterior"):
        raise unknown("variance", variance, ("beta", "posterior"))
    x = source()
    for index, (t, s) in enumerate(_step_sizes(schedule, num_inference_steps)):
        abar_t, abar_s = float(schedule.alphas_cumprod[t]), float(schedule.alphas_cumprod[s])
        alpha = abar_t / abar_s
        beta = 1.0 - alpha
        eps = model(x, torch.full((len(x),), t, device=x.device))
        if callback:
            callback(Step(index, t, s, x, (x - (1.0 - abar_t) ** 0.5 * eps) / abar_t**0.5))
        x = (x - beta / (1.0 - abar_t) ** 0.5 * eps) / alpha**0.5
        if s > 0:
            nu2 = beta if variance == "beta" else beta * (1.0 - abar_s) / (1.0 - abar_t)
            x = x + nu2**0.5 * source()
    return x


@torch.no_grad()
def ddim(
    model: Model,
    schedule: Schedule,
    source: Source,
    *,
    num_inference_steps: int,
    eta: float = 0.0,
    callback: Callback | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021). Deterministic for eta = 0; eta = 1 adds as much noise as ancestral sampling.

    With eta = 0, x_s = sqrt(abar_s) x0_hat + sqrt(1 - abar_s) eps_hat has the form that training showed, for any D.

    Args:
        eta: in [0, 1]; scales the noise added by each step.
    """
    if not 0.0 <= eta <= 1.0:
        raise InputError(f"eta: {eta} must lie in [0, 1]")
    x = source()
    for index, (t, s) in enumerate(_step_sizes(schedule, num_inference_steps)):
        abar_t, abar_s = float(schedule.alphas_cumprod[t]), float(schedule.alphas_cumprod[s])
        eps = model(x, torch.full((len(x),), t, device=x.device))
        x0 = (x - (1.0 - abar_t) ** 0.5 * eps) / abar_t**0.5
        if callback:
            callback(Step(index, t, s, x, x0))
        sigma2 = eta**2 * (1.0 - abar_s) / (1.0 - abar_t) * (1.0 - abar_t / abar_s)
        x = abar_s**0.5 * x0 + (1.0 - abar_s - sigma2) ** 0.5 * eps
        if sigma2 > 0:
            x = x + sigma2**0.5 * source()
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {"ancestral": ancestral, "ddim": ddim}


def get_sampler(method: str) -> Callable[..., Tensor]:
    """The sampler of that name.

    Raises:
        InputError: on an unknown name.
    """
    if method not in SAMPLERS:
        raise unknown("sampler method", method, SAMPLERS)
    return SAMPLERS[method]
