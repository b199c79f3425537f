"""A diffusion in one object: the noise, its amount at each t, and what the network learns to predict."""

import math
from dataclasses import dataclass, field
from typing import Unpack

import torch
from torch import Tensor

from ngldm.diffusion.coupling import pair_by_transport
from ngldm.diffusion.forward import Forward, check_forward, make_forward
from ngldm.diffusion.names import COUPLINGS, TrainingOptions, check_preconditioning
from ngldm.diffusion.objective import Objective, add_noise, objective_target, predict_eps, predict_x0
from ngldm.diffusion.preconditioning import Network, Preconditioning
from ngldm.diffusion.schedules import Schedule
from ngldm.diffusion.stein_head import SteinHead, keeps_law
from ngldm.diffusion.time_density import TimeDensity, cells
from ngldm.io.errors import InputError, unknown
from ngldm.noise import Law
from ngldm.noise.law import draw_with_stein


@dataclass(frozen=True)
class Diffusion:
    """Noise, schedule, forward process, objective and preconditioning. Training and sampling share them.

    Attributes:
        stein_head: how K_bar of the noise is known, for the sampler `stein`.
        coupling: how training pairs data and noise: "independent", or "minibatch_ot" by optimal transport.
        preconditioning: what is done to the network's input and output.
        time_density: how often each t is trained.

    Raises:
        InputError: an unknown coupling, an objective that cannot be learned with this schedule or preconditioning, or a
            time density that has no probability at the schedule's noise levels.
    """

    noise: Law
    schedule: Schedule
    forward: Forward
    objective: Objective
    stein_head: SteinHead
    coupling: str = "independent"
    preconditioning: Preconditioning = field(default_factory=Preconditioning)
    time_density: TimeDensity = field(default_factory=TimeDensity)

    def __post_init__(self) -> None:
        self.objective.check(self.schedule)
        if self.coupling not in COUPLINGS:
            raise unknown("diffusion.coupling", self.coupling, COUPLINGS)
        check_preconditioning(self.preconditioning.kind, self.objective.target)
        self.time_density.probabilities(self.schedule)  # it raises if the schedule has no such noise levels

    @classmethod
    @torch.inference_mode(False)  # what is made for sampling must serve a training too
    def make(
        cls,
        noise: Law,
        schedule: Schedule,
        forward: str = "marginal",
        objective: str = "eps",
        weighting: str = "none",
        gamma: float | None = None,
        **options: Unpack[TrainingOptions],
    ) -> "Diffusion":
        """A diffusion from a noise and a schedule.

        Args:
            noise: see `ngldm.make_noise`.
            schedule: see `ngldm.make_schedule`.
            forward: the noise of x_t in training: "marginal" is one draw of D (the paper's code), "markov" is the
                noise after t steps of the chain.
            objective: what the network predicts: "eps" (the paper), "x0", "v" or "u" (the flow's velocity).
            weighting: the weight of each t in the loss: "none", "min_snr" or "p2" (see `Objective`).
            gamma: > 0, the constant of the weighting. None means its authors' value. "none" has no such constant.
            options: see `TrainingOptions`.

        Raises:
            InputError: on an unknown name, a gamma out of range, or settings that exclude each other.
        """
        for name, value in {"noise": noise, "schedule": schedule}.items():
            if isinstance(value, str):
                raise InputError(f"{name}: {value!r} is a name; make it with ngldm.make_{name}({value!r})")
        for key in options:
            if key not in TrainingOptions.__annotations__:
                raise InputError(
                    f"diffusion.{key}: unknown option; known: {', '.join(TrainingOptions.__annotations__)}"
                )
        coupling = options.get("coupling", "independent")
        process = make_forward(forward, noise, schedule)
        check_forward(forward, noise, coupling)
        head = SteinHead.choose(noise, options.get("stein_head", "none"), keeps_law(noise, forward, coupling))
        power = noise.second_moment if math.isfinite(noise.second_moment) else 1.0  # scaled by the Gaussian's median
        preconditioning = Preconditioning(options.get("preconditioning", "none"), options.get("data_std", 1.0), power)
        density = TimeDensity(
            options.get("time_density", "uniform"),
            options.get("time_mean"),
            options.get("time_std"),
            options.get("time_shift", 1.0),
        )
        target = Objective(objective, weighting, gamma, options.get("loss", "squared"))
        return cls(noise, schedule, process, target, head, coupling, preconditioning, density)

    def predictor(self, network: Network) -> Network:
        """The network with its preconditioning: it predicts the objective's target."""
        return self.preconditioning.wrap(network, self.schedule)

    def loss_weights(self) -> Tensor:
        """The weight of the target's squared error at each t: (T + 1,) float64. Entry 0 is not used.

        With preconditioning and without a weighting, it is that of the squared error of the network's own output.
        """
        if self.objective.weighting == "none":
            return self.preconditioning.weights(self.schedule)
        return self.objective.weights(self.schedule)

    def emphasis(self) -> Tensor:
        """w(lambda) p(lambda) at t = 1..T: (T,) float64, w the weight of the squared error of eps.

        Two trainings with the same product have the same loss, whatever their schedule, objective and time density
        (Kingma and Gao 2023). It is not finite where a_T = 0 and eps is not defined.
        """
        density = self.time_density.probabilities(self.schedule)[1:] / -cells(self.schedule).diff()
        return density * (self.loss_weights() / self.objective.eps_error(self.schedule))[1:]

    def loss(
        self, network: Network, x0: Tensor, generator: torch.Generator | None = None, part: slice | None = None
    ) -> Tensor:
        """The loss of a batch (algorithm 1): squared error or its root, with eps from the forward process.

        t has the time density: uniform on 1..T unless another is chosen.

        Args:
            network: network(x_t, t), which predicts the target of the objective; with a head, channels more than x_t.
            x0: (B, ...) clean data of about mean 0 and variance 1, such as standardised latents.
            generator: source of t and eps. They are drawn on its device. This is fastest on the device of x0.
            part: the images whose loss is wanted; None is all. t and eps are drawn, and paired with x0, for all.

        Returns:
            (B,) weighted loss per image, float32; of the images x0[part] alone if there is a part.

        Raises:
            InputError: the network's output has another shape than x0. Broadcasting it would give a wrong loss.
        """
        schedule, target = self.schedule, self.objective.target
        device = generator.device if generator else x0.device
        t = self.time_density.sample(schedule, len(x0), generator, device)
        eps, k = self._draw(x0, t, generator)
        t = t.to(x0.device)
        if self.coupling == "minibatch_ot":
            eps = pair_by_transport(x0, eps)
        if part is not None:
            x0, eps, t, k = x0[part], eps[part], t[part], k[part] if k.ndim else k
        x_t = add_noise(schedule, x0, eps, t)
        prediction, raw = self.stein_head.split(self.predictor(network)(x_t, t), x0)
        wanted = objective_target(schedule, x0, eps, t, target)
        if prediction.shape != wanted.shape:
            raise InputError(f"network: returned shape {tuple(prediction.shape)}, must be {tuple(wanted.shape)}, as x0")
        loss = self.objective.error(prediction.float(), wanted)
        if not self.objective.weighting == self.preconditioning.kind == "none":
            weights = schedule.cached((self.objective, self.preconditioning), self.loss_weights, loss)[t]
            loss = loss * (weights.sqrt() if self.objective.loss == "root" else weights)
        if raw is None:
            return loss
        x0_hat = predict_x0(schedule, x_t, prediction.detach().float(), t, target)
        signal, noise = (schedule.at(name, t, x_t) for name in ("signal", "noise"))
        reach = self.stein_head.reach(x_t, signal, noise)
        return loss + self.stein_head.loss(k, predict_eps(schedule, x_t, x0_hat, t), raw, reach)

    def _draw(self, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """eps of x_t and its K, which is 0 where nothing learns it."""
        if self.stein_head.kind == "none":
            return self.forward.sample(x0.shape, t, generator).to(x0.device), x0.new_zeros(())
        eps, k = draw_with_stein(self.noise, x0.shape, generator, t.device)
        return eps.to(x0.device), k.to(x0.device)
