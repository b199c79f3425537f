"""A diffusion in one object: the noise, its amount at each t, and what the network learns to predict."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ngldm.diffusion.forward import Forward, make_forward
from ngldm.diffusion.objective import Objective, add_noise, objective_target
from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError
from ngldm.noise import Noise

Network = Callable[[Tensor, Tensor], Tensor]  # network(x_t (B, ...), t (B,)) -> (B, ...), an nn.Module or a function


@dataclass(frozen=True)
class Diffusion:
    """Noise, schedule, forward process and objective. Training and sampling share them.

    Raises:
        InputError: the objective cannot be learned with this schedule.
    """

    noise: Noise
    schedule: Schedule
    forward: Forward
    objective: Objective

    def __post_init__(self) -> None:
        self.objective.check(self.schedule)

    @classmethod
    def make(
        cls,
        noise: Noise,
        schedule: Schedule,
        forward: str = "marginal",
        objective: str = "eps",
        weighting: str = "none",
        gamma: float | None = None,
    ) -> "Diffusion":
        """A diffusion from a noise and a schedule.

        Args:
            noise: see `ngldm.make_noise`.
            schedule: see `ngldm.make_schedule`.
            forward: the noise of x_t in training: "marginal" is one draw of D (the paper's code), "markov" is the
                noise after t steps of the chain.
            objective: what the network predicts: "eps" (the paper), "x0", "v" or "u" (the flow's velocity).
            weighting: the weight of each t in the loss: "none", "min_snr" or "p2" (see `Objective`).
            gamma: > 0, the constant of the weighting. None means its authors' value.

        Raises:
            InputError: on an unknown name, a gamma out of range, or settings that exclude each other.
        """
        return cls(noise, schedule, make_forward(forward, noise, schedule), Objective(objective, weighting, gamma))

    def loss(self, network: Network, x0: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The loss of a batch (algorithm 1): t uniform on 1..T, eps from the forward process, squared error.

        Args:
            network: network(x_t, t), which predicts the target of the objective.
            x0: (B, ...) clean data of about mean 0 and variance 1, such as standardised latents.
            generator: source of t and eps. They are drawn on its device. This is fastest on the device of x0.

        Returns:
            (B,) weighted loss per image, float32.

        Raises:
            InputError: the network's output has another shape than x0. Broadcasting it would give a wrong loss.
        """
        schedule, target = self.schedule, self.objective.target
        device = generator.device if generator else x0.device
        t = torch.randint(1, schedule.num_train_timesteps + 1, (len(x0),), generator=generator, device=device)
        eps = self.forward.sample(x0.shape, t, generator).to(x0.device)
        t = t.to(x0.device)
        prediction = network(add_noise(schedule, x0, eps, t), t)
        wanted = objective_target(schedule, x0, eps, t, target)
        if prediction.shape != wanted.shape:
            raise InputError(f"network: returned shape {tuple(prediction.shape)}, must be {tuple(wanted.shape)}, as x0")
        loss = F.mse_loss(prediction.float(), wanted, reduction="none").unsqueeze(-1).flatten(1).mean(1)
        if self.objective.weighting == "none":
            return loss
        return loss * schedule.cached(self.objective, lambda: self.objective.weights(schedule), loss)[t]
