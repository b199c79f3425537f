"""The sampler `stein`, which adds Gaussian noise of the variance that the law of the noise asks for."""

from collections.abc import Callable

import torch
from torch import Tensor

from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError
from ngldm.sampling.denoiser import Denoise, Prediction
from ngldm.sampling.names import require_fraction
from ngldm.sampling.randomness import Source
from ngldm.sampling.timesteps import Callback, Step, signal_and_noise, steps


def stein_with(colour: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """The sampler `stein` for noise with a correlation.

    Args:
        colour: gives white noise the correlation of the model's noise D.
    """

    @torch.no_grad()
    def stein(
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        source: Source,
        timesteps: list[int],
        *,
        eta: float = 1.0,
        callback: Callback | None = None,
    ) -> Tensor:
        """Steps that add Gaussian noise of variance K_bar: right for every noise with a Stein kernel, as steps shrink.

        x_s = a_s x0_hat + b_s (rho eps_hat + sqrt(1 - rho^2) L K_bar^(1/2) z), with z from `source`, Gaussian for every
        noise D, L = `colour`, r = b_s a_t / (b_t a_s) and rho = sqrt(1 - eta^2 (1 - r^2)). K is the Stein kernel of D
        and K_bar = E[K | x_t]. docs/samplers.md derives it. With Gaussian noise K_bar is 1, and eta = 1 is DDPM with
        the posterior variance. If a_t = 0, r is 0, and all noise is new at eta = 1. The last step returns the predicted
        x_0.

        Args:
            denoise: with `k_bar` in its predictions.
            eta: in [0, 1]: 0 is DDIM, the flow.

        Raises:
            InputError: eta is out of range, or the predictions have no `k_bar`.
        """
        require_fraction("eta", eta)
        for index, t, s in steps(timesteps):
            predicted = denoise(x, t)
            if callback:
                callback(Step(index, t, s, x, predicted.x0))
            x = stein_step(schedule, predicted, (t, s), source, eta, colour)
        return x

    return stein


def stein_step(
    schedule: Schedule,
    predicted: Prediction,
    step: tuple[int, int],
    source: Source,
    eta: float,
    colour: Callable[[Tensor], Tensor],
) -> Tensor:
    """x_s of one step of `stein`.

    Args:
        predicted: from x_t, with `k_bar`.
        step: t and s.
        source: asked only if the step adds noise.
        colour: that of `stein_with`.

    Raises:
        InputError: the prediction has no `k_bar`.
    """
    (signal_t, noise_t), (signal, noise) = (signal_and_noise(schedule, u) for u in step)
    x0, eps, k_bar = predicted
    if k_bar is None:
        raise InputError("method: 'stein' needs K_bar of the noise, which this denoiser does not give")
    new = eta**2 * (1.0 - (noise * signal_t / (noise_t * signal)) ** 2)
    if step[1] > 0 and new > 0:
        eps = (1.0 - new) ** 0.5 * eps + colour((new * k_bar) ** 0.5 * source())
    return signal * x0 + noise * eps


stein = stein_with(lambda z: z)
