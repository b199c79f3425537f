"""Convert the network's output to the x_0 and eps that samplers use."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ngldm.diffusion.objective import predict_eps, predict_x0
from ngldm.diffusion.schedules import Schedule
from ngldm.diffusion.stein_head import SteinHead
from ngldm.io.errors import InputError, unknown
from ngldm.sampling.classes.guidance import Guidance
from ngldm.sampling.names import X0_HANDLINGS


class Prediction(NamedTuple):
    """The predicted x_0 and eps. x_t = a_t x0 + b_t eps holds exactly.

    k_bar is E[K | x_t] >= 0 of the noise's Stein kernel K, which broadcasts over x0; None if it is not known.
    """

    x0: Tensor
    eps: Tensor
    k_bar: Tensor | None = None


Denoise = Callable[[Tensor, int], Prediction]  # (x_t (B, ...), t in 1..T)


@dataclass(frozen=True)
class X0Handling:
    """How to change a predicted x_0 that is outside the range of the data.

    Attributes:
        kind: "none": no change. "clip": clip to [-limit, limit]. "dynamic": dynamic thresholding (Saharia et al. 2022):
            for each image, s is the quantile of |x_0|, but at least `limit`; x_0 is clipped to [-s, s] and divided by
            s / limit. "range": clip to the range of the training latents at each position.
        limit: in standard deviations of the latents.
        quantile: in (0, 1), for "dynamic".
        low, high: (c, h, w) the smallest and the largest training latents, for "range".
    """

    kind: str = "none"
    limit: float = 3.0
    quantile: float = 0.995
    low: Tensor | None = None
    high: Tensor | None = None

    def __post_init__(self) -> None:
        if self.kind not in X0_HANDLINGS:
            raise unknown("x0_handling", self.kind, X0_HANDLINGS)
        if not self.limit > 0:
            raise InputError(f"x0_limit: {self.limit} must be above 0")
        if self.kind == "range" and (self.low is None or self.high is None):
            raise InputError("x0_handling: 'range' needs the range of the training latents: give low and high")

    def __call__(self, x0: Tensor) -> Tensor:
        if self.kind == "clip":
            return x0.clamp(-self.limit, self.limit)
        if self.kind == "dynamic":
            s = x0.flatten(1).abs().float().quantile(self.quantile, dim=1).clamp(min=self.limit)
            s = s.to(x0).reshape(-1, *[1] * (x0.ndim - 1))
            return x0.clamp(-s, s) * (self.limit / s)
        if self.kind == "range" and self.low is not None and self.high is not None:
            return x0.clamp(self.low.to(x0), self.high.to(x0))
        return x0


def make_denoiser(
    model: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    objective: str = "eps",
    handling: X0Handling | None = None,
    stein_head: SteinHead | None = None,
    guidance: Guidance | None = None,
) -> Denoise:
    """The network as a function from x_t and t to a `Prediction`.

    Args:
        model: model(x_t (B, ...), t (B,)), which predicts `objective`.
        objective: "eps", "x0", "v" or "u".
        handling: how to change x_0. eps is then computed from x_t and the changed x_0.
        stein_head: that of the model's diffusion. Without it, the predictions have no k_bar.
        guidance: `model` is then that of a class. x_0 is changed after the guidance, and k_bar stays that of `model`.
    """

    def conditional(x: Tensor, steps: Tensor) -> tuple[Tensor, Prediction]:
        """x_0 as `model` predicts it, and the prediction without guidance."""
        output, raw = model(x, steps), None
        if stein_head is not None:
            output, raw = stein_head.split(output, x)
        x0 = own = predict_x0(schedule, x, output, steps, objective)
        if handling is not None and handling.kind != "none":
            x0 = handling(own)
            eps = predict_eps(schedule, x, x0, steps)
        else:
            eps = output if objective == "eps" else predict_eps(schedule, x, x0, steps)
        if stein_head is None:
            return own, Prediction(x0, eps)
        reach = stein_head.reach(x, *(schedule.at(name, steps, x) for name in ("signal", "noise")))
        return own, Prediction(x0, eps, stein_head.k_bar(eps, raw, reach))

    def denoise(x: Tensor, t: int) -> Prediction:
        steps = torch.full((len(x),), t, device=x.device)
        own, prediction = conditional(x, steps)
        if guidance is None or not guidance.applies(schedule, t):
            return prediction
        output = guidance.unconditional(x, steps)[:, : x.shape[1]]  # further channels are those of a head
        x0 = guidance(own, predict_x0(schedule, x, output, steps, objective))
        x0 = x0 if handling is None else handling(x0)
        return Prediction(x0, predict_eps(schedule, x, x0, steps), prediction.k_bar)

    return denoise
