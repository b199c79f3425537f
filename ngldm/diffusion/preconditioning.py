"""What is done to a network's input and output so that both have variance 1 at every t (Karras et al. 2022, EDM)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError, require_real

Network = Callable[[Tensor, Tensor], Tensor]  # network(x_t (B, ...), t (B,)) -> (B, ...), an nn.Module or a function


@dataclass(frozen=True)
class Preconditioning:
    """A network F as a prediction of x_0, for any schedule: x0_hat = c_skip x_t + c_out F(c_in x_t, t).

    With the variance q = a^2 data_std^2 + b^2 noise_power of x_t:

        c_in = 1 / sqrt(q),   c_skip = a data_std^2 / q,   c_out = b data_std sqrt(noise_power / q)

    For a = 1 these are EDM's (their table 1), and with noise_power nu / (nu - 2) those of t-EDM (Pandey et al. 2025).
    Nothing divides by a. F's target has variance 1 at every t.

    Attributes:
        kind: "none" (the network is used as it is) or "edm".
        data_std: root mean square of x_0, from 1e-15 to 1e15.
        noise_power: second moment of the noise per element, in the same range.

    Raises:
        InputError: a number is out of range.
    """

    kind: str = "none"
    data_std: float = 1.0
    noise_power: float = 1.0

    def __post_init__(self) -> None:
        for key in ("data_std", "noise_power"):
            value = require_real(f"diffusion.{key}", getattr(self, key))
            if self.kind != "none" and not 1e-15 <= value <= 1e15:  # its square must lie within float32
                raise InputError(f"diffusion.{key}: {value} must lie between 1e-15 and 1e15")

    def _coefficients(self, schedule: Schedule) -> Tensor:
        """c_in, c_skip, c_out: (3, T + 1) float64."""
        a, b, s = schedule.signal, schedule.noise, self.data_std
        q = a.square() * s**2 + b.square() * self.noise_power
        c_out: Tensor = b * s * (self.noise_power / q).sqrt()
        return torch.stack([q.rsqrt(), a * s**2 / q, c_out])

    def wrap(self, network: Network, schedule: Schedule) -> Network:
        """The network as a prediction of the objective's target."""
        if self.kind == "none":
            return network

        def predict(x: Tensor, t: Tensor) -> Tensor:
            values = schedule.cached(self, lambda: self._coefficients(schedule), x)[:, t.to(x.device)]
            c_in, c_skip, c_out = values.reshape(3, -1, *[1] * (x.ndim - 1))
            output = network(c_in * x, t)
            own = x.shape[1]  # further channels are those of a head
            prediction: Tensor = c_skip * x + c_out * output[:, :own]
            return prediction if output.shape[1] == own else torch.cat([prediction, output[:, own:]], dim=1)

        return predict

    def weights(self, schedule: Schedule) -> Tensor:
        """The weight of x_0's squared error that makes it the squared error of F: (T + 1,). Entry 0 is not used."""
        if self.kind == "none":
            return torch.ones_like(schedule.signal)
        weights: Tensor = self._coefficients(schedule)[2].square().clamp(min=torch.finfo(torch.float64).tiny) ** -1
        return weights
