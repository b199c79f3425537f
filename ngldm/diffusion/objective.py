"""What the network predicts, and the conversions between x_0, eps, v and u.

x_t = a x_0 + b eps, with the coefficients a and b of the schedule. The conversions are the same for every schedule and
noise distribution: nothing here assumes that eps is Gaussian or that a^2 + b^2 = 1. The minimiser of each objective is
the conditional mean of its target given x_t. All targets are linear in (x_t, x_0), so each conditional mean gives the
others. With the loss "root" it is the spatial median instead, which no sampler here is exact with (`Objective`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ngldm.diffusion.names import LOSSES, OBJECTIVES, WEIGHTINGS, require_gamma_used, require_signal
from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError, require_real, unknown

USUAL_GAMMA = {"none": 1.0, "min_snr": 5.0, "p2": 1.0}  # "none" does not use it


def _coefficients(schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """a_t and b_t, shaped to broadcast over `like` (B, ...)."""
    return schedule.at("signal", t, like), schedule.at("noise", t, like)


def add_noise(schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """The forward marginal x_t.

    Args:
        x0, eps: (B, ...) clean latents and noise of mean 0 and variance 1.
        t: (B,) integers in 0..T.
    """
    signal, noise = _coefficients(schedule, t, x0)
    return signal * x0 + noise * eps


def velocity(schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """v = a eps - b x_0 (Salimans and Ho 2022). t in 0..T."""
    signal, noise = _coefficients(schedule, t, x0)
    return signal * eps - noise * x0


def flow_velocity(schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """u = a' x_0 + b' eps, the change of x_t with t / T (Lipman et al. 2023). t in 1..T.

    For rectified flow it is eps - x_0.
    """
    return schedule.at("signal_rate", t, x0) * x0 + schedule.at("noise_rate", t, x0) * eps


def objective_target(schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor, objective: str) -> Tensor:
    """What the network should predict for x_t = a x_0 + b eps."""
    if objective == "x0":
        return x0
    if objective == "eps":
        return eps
    return (velocity if objective == "v" else flow_velocity)(schedule, x0, eps, t)


def predict_x0(schedule: Schedule, x_t: Tensor, output: Tensor, t: Tensor, objective: str = "eps") -> Tensor:
    """x_0 from x_t and what the network predicts. t in 0..T, for "u" in 1..T.

    For "eps" this is the inverse of `add_noise`. If a is very small, it enlarges the errors of eps. If a is 0, x_0
    cannot be recovered. "v" and "u" have no such t.
    """
    signal, noise = _coefficients(schedule, t, x_t)
    if objective == "x0":
        return output
    if objective == "v":
        return (signal * x_t - noise * output) / schedule.at("power", t, x_t)
    if objective == "u":
        return (schedule.at("noise_rate", t, x_t) * x_t - noise * output) / schedule.at("wronskian", t, x_t)
    return (x_t - noise * output) / signal


def predict_eps(schedule: Schedule, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """eps from x_t and x_0. t in 1..T (at t = 0 there is no noise to recover)."""
    signal, noise = _coefficients(schedule, t, x_t)
    return (x_t - signal * x0) / noise


@dataclass(frozen=True)
class Objective:
    """What the network predicts and how much each t counts.

    Attributes:
        target: "eps" (the paper), "x0", "v" or "u" (the flow's velocity).
        weighting: "none": the squared error of the target. "min_snr": the squared error of x_0 times min(SNR_t, gamma)
            (Hang et al. 2023). "p2": the squared error of eps divided by (1 + SNR_t)^gamma (Choi et al. 2022, with
            their k = 1). "min_snr" and "p2" give the same loss for every target, because
            |eps error|^2 = SNR |x_0 error|^2 = (a / (a^2 + b^2))^2 |v error|^2 = (a / (a b' - a' b))^2 |u error|^2 at a
            given x_t. SNR is a^2 / b^2. At SNR_T = 0 (zero terminal SNR) their weight would be 0; there the weight is
            1, as for "none".
        gamma: > 0. None means the authors' value: 5 for min_snr, 1 for p2. With "none" it must be None.
        loss: "squared": the mean squared error of an image's elements, times the weight. "root": the root of that: the
            Euclidean distance over the root of the number of elements (DLPM, Shariatian et al. 2025). It has a finite
            mean also for noise of infinite variance. Its minimiser is the spatial median of the target given x_t, not
            its mean. Where that law is symmetric about a point, both are that point.
    """

    target: str = "eps"
    weighting: str = "none"
    gamma: float | None = None
    loss: str = "squared"

    def __post_init__(self) -> None:
        if self.target not in OBJECTIVES:
            raise unknown("diffusion.objective", self.target, OBJECTIVES)
        if self.weighting not in WEIGHTINGS:
            raise unknown("diffusion.weighting", self.weighting, WEIGHTINGS)
        if self.loss not in LOSSES:
            raise unknown("diffusion.loss", self.loss, LOSSES)
        if self.gamma is not None and not require_real("diffusion.gamma", self.gamma) > 0:
            raise InputError(f"diffusion.gamma: {self.gamma} must be above 0")
        require_gamma_used(self.weighting, self.gamma)

    def check(self, schedule: Schedule) -> None:
        """Check that the network can learn the target with this schedule.

        Raises:
            InputError: the target is "eps" and a_T = 0 (zero terminal SNR), where eps does not give x_0; or it is "u"
                and a b' - a' b = 0 at T ("stable" with zero terminal SNR), where u does not.
        """
        require_signal(self.target, float(schedule.signal[-1]) == 0.0)
        if self.target == "u" and not float(schedule.wronskian[-1]) > 0.0:
            raise InputError(
                "diffusion.objective: 'u' cannot be used with schedule.name 'stable' and schedule.zero_terminal_snr: "
                "x_t does not change at T, so u does not give x_0; use 'v' or 'x0'"
            )

    def error(self, prediction: Tensor, wanted: Tensor) -> Tensor:
        """The mean squared error of each image's elements, or its root: (B,) from (B, ...) and (B, ...)."""
        if self.loss == "squared":
            return F.mse_loss(prediction, wanted, reduction="none").unsqueeze(-1).flatten(1).mean(1)
        difference = (prediction - wanted).unsqueeze(-1).flatten(1)
        # The norm, unlike the root of a mean, has the gradient 0 at 0.
        root: Tensor = torch.linalg.vector_norm(difference, dim=1) / difference.shape[1] ** 0.5
        return root

    def weights(self, schedule: Schedule) -> Tensor:
        """The weight of the target's squared error at each t: (T + 1,) float64. Entry 0 is not used."""
        if self.weighting == "none":
            return torch.ones_like(schedule.signal)
        snr = schedule.signal.square() / schedule.noise.square().clamp(min=torch.finfo(torch.float64).tiny)
        gamma = USUAL_GAMMA[self.weighting] if self.gamma is None else self.gamma
        on_eps = (gamma / snr).clamp(max=1.0) if self.weighting == "min_snr" else (1.0 + snr) ** -gamma
        weights = on_eps * self.eps_error(schedule)
        # Sampling starts at T, so the network must learn to predict there. Lin et al. 2024 introduced zero terminal SNR
        # and train v without a weighting. At SNR 0, v is -x_0, so the weight is the same for both targets.
        return torch.where(snr > 0.0, weights, 1.0)

    def eps_error(self, schedule: Schedule) -> Tensor:
        """The squared error of eps that a squared error of 1 in the target means: (T + 1,). Entry 0 is not used."""
        signal, tiny = schedule.signal, torch.finfo(torch.float64).tiny
        if self.target == "eps":
            return torch.ones_like(signal)
        if self.target == "x0":
            return signal.square() / schedule.noise.square().clamp(min=tiny)
        return (signal / (schedule.power if self.target == "v" else schedule.wronskian)).square()
