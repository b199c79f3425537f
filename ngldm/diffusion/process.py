"""A diffusion in one object: the noise, its amount at each t, and what the network learns to predict."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from ngldm.diffusion.coupling import pair_by_transport
from ngldm.diffusion.forward import Forward, make_forward
from ngldm.diffusion.names import COUPLINGS
from ngldm.diffusion.objective import Objective, add_noise, predict_eps, predict_x0, velocity
from ngldm.diffusion.schedules import Schedule
from ngldm.diffusion.stein_head import SteinHead
from ngldm.io.errors import InputError, unknown
from ngldm.noise import Law
from ngldm.noise.law import draw_with_stein

Network = Callable[[Tensor, Tensor], Tensor]  # network(x_t (B, ...), t (B,)) -> (B, ...), an nn.Module or a function


class Further(TypedDict, total=False):
    """Options of `Diffusion.make` that add to the method.

    Attributes:
        coupling: of images and noise in training: "independent" (default), or "minibatch_ot", which pairs those of a
            batch at the least total squared distance.
        stein_head: the network's extra output for the sampler `stein`: "none" (default), "scalar" or "element" (see
            `SteinHead`). A noise that needs none gets none.
    """

    coupling: str
    stein_head: str


@dataclass(frozen=True)
class Diffusion:
    """Noise, schedule, forward process and objective. Training and sampling share them.

    `coupling` is how training pairs images and noise: "independent", or "minibatch_ot" by optimal transport.

    Raises:
        InputError: the objective cannot be learned with this schedule, or an unknown coupling.
    """

    noise: Law
    schedule: Schedule
    forward: Forward
    objective: Objective
    stein_head: SteinHead
    coupling: str = "independent"

    def __post_init__(self) -> None:
        self.objective.check(self.schedule)
        if self.coupling not in COUPLINGS:
            raise unknown("diffusion.coupling", self.coupling, COUPLINGS)

    @classmethod
    def make(
        cls,
        noise: Law,
        schedule: Schedule,
        forward: str = "marginal",
        objective: str = "eps",
        weighting: str = "none",
        gamma: float | None = None,
        **further: Unpack[Further],
    ) -> "Diffusion":
        """A diffusion from a noise and a schedule.

        Args:
            noise: see `ngldm.make_noise`.
            schedule: see `ngldm.make_schedule`.
            forward: the noise of x_t in training: "marginal" is one draw of D (the paper's code), "markov" is the
                noise after t steps of the chain.
            objective: what the network predicts: "eps" (the paper), "x0" or "v".
            weighting: the weight of each t in the loss: "none", "min_snr" or "p2" (see `Objective`).
            gamma: > 0, the constant of the weighting. None means its authors' value. "none" has no such constant.
            further: see `Further`.

        Raises:
            InputError: on an unknown name, a gamma out of range, or settings that exclude each other.
        """
        process = make_forward(forward, noise, schedule)
        coupling = further.get("coupling", "independent")
        fixed = (forward == "marginal" or noise.traits.closed_under_sums) and coupling == "independent"
        head = SteinHead.choose(noise, further.get("stein_head", "none"), fixed)
        return cls(noise, schedule, process, Objective(objective, weighting, gamma), head, coupling)

    def loss(self, network: Network, x0: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The loss of a batch (algorithm 1): t uniform on 1..T, eps from the forward process, squared error.

        Args:
            network: network(x_t, t), which predicts the target of the objective; with a head, channels more than x_t.
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
        eps, k = self._draw(x0, t, generator)
        t = t.to(x0.device)
        if self.coupling == "minibatch_ot":
            eps = pair_by_transport(x0, eps)
        x_t = add_noise(schedule, x0, eps, t)
        prediction, raw = self.stein_head.split(network(x_t, t), x0)
        wanted = eps if target == "eps" else x0 if target == "x0" else velocity(schedule, x0, eps, t)
        if prediction.shape != wanted.shape:
            raise InputError(f"network: returned shape {tuple(prediction.shape)}, must be {tuple(wanted.shape)}, as x0")
        loss = F.mse_loss(prediction.float(), wanted, reduction="none").unsqueeze(-1).flatten(1).mean(1)
        if self.objective.weighting != "none":
            loss = loss * schedule.cached(self.objective, lambda: self.objective.weights(schedule), loss)[t]
        if raw is None:
            return loss
        x0_hat = predict_x0(schedule, x_t, prediction.detach().float(), t, target)
        return loss + self.stein_head.loss(k, predict_eps(schedule, x_t, x0_hat, t), raw)

    def _draw(self, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """eps of x_t and its K, which is 0 where nothing learns it."""
        if self.stein_head.kind == "none":
            return self.forward.sample(x0.shape, t, generator).to(x0.device), x0.new_zeros(())
        eps, k = draw_with_stein(self.noise, x0.shape, generator, t.device)
        return eps.to(x0.device), k.to(x0.device)
