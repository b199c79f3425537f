"""Samplers: from x_T down to a latent at t = 0. One signature, any noise distribution.

    sampler(denoise, schedule, x, source, timesteps, callback=None, **options) -> x_0

`denoise` gives x_0 and eps as the network sees them (`ngldm.sampling.denoiser`); `x` is x_T; `source()` supplies fresh
noise of mean 0 and variance 1 to those that add noise; `timesteps` descend from T (`ngldm.sampling.timesteps`). Whoever
calls decides where x_T and noise come from.

The deterministic ones follow dx/dt = a'(t) E[x_0 | x_t] + b'(t) E[eps | x_t], a and b the coefficients of x_0 and
eps. With exact conditional means that flow carries the marginals a x_0 + b eps of *any* noise D (Albergo et al.
2023), so they suit non-Gaussian noise without change. Those that add noise every step assume more: see
docs/samplers.md.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError, unknown
from ngldm.sampling.denoiser import Denoise
from ngldm.sampling.names import VARIANCES

Source = Callable[[], Tensor]  # each call: fresh noise of mean 0, variance 1, in the shape of x_t


@dataclass(frozen=True)
class Step:
    """What a callback sees of each step, before the step is made.

    Attributes:
        index: 0 .. len(timesteps) - 1.
        t, t_next: the step leads from t down to t_next (0 for the last step).
        x: (B, ...) x_t.
        x0: (B, ...) the prediction of x_0 from x_t.
    """

    index: int
    t: int
    t_next: int
    x: Tensor
    x0: Tensor


Callback = Callable[[Step], object]


def _steps(timesteps: list[int]) -> Iterator[tuple[int, int, int]]:
    """(index, t, t_next) of each step."""
    for index, (t, s) in enumerate(zip(timesteps, [*timesteps[1:], 0], strict=True)):
        yield index, t, s


def _signal_and_noise(schedule: Schedule, t: int) -> tuple[float, float]:
    return float(schedule.sqrt_alphas_cumprod[t]), float(schedule.sqrt_one_minus_alphas_cumprod[t])


def _require_fraction(key: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise InputError(f"{key}: {value} must lie in [0, 1]")


@torch.no_grad()
def ancestral(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    source: Source,
    timesteps: list[int],
    *,
    variance: str = "beta",
    callback: Callback | None = None,
) -> Tensor:
    """Algorithm 2: DDPM's ancestral sampling with fresh noise at every step but the last.

    With fewer steps than T, the betas are those of the respaced chain: 1 - abar_t / abar_s for a step from t to s
    (Nichol and Dhariwal 2021); with T steps they are beta_t, and the update is the paper's, its 1/sqrt(alpha_t)
    read as its code has it. Written as DDPM's posterior mean of x_0 and x_t, which also holds where abar_t = 0.

    Args:
        variance: "beta" for nu^2 = beta_t (the paper's code), "posterior" for DDPM's smaller
            beta_t (1 - abar_s) / (1 - abar_t).
    """
    if variance not in VARIANCES:
        raise unknown("variance", variance, VARIANCES)
    for index, t, s in _steps(timesteps):
        abar_t, abar_s = float(schedule.alphas_cumprod[t]), float(schedule.alphas_cumprod[s])
        alpha = abar_t / abar_s
        beta = 1.0 - alpha
        x0, _ = denoise(x, t)
        if callback:
            callback(Step(index, t, s, x, x0))
        x = (abar_s**0.5 * beta * x0 + alpha**0.5 * (1.0 - abar_s) * x) / (1.0 - abar_t)
        if s > 0:
            nu2 = beta if variance == "beta" else beta * (1.0 - abar_s) / (1.0 - abar_t)
            x = x + nu2**0.5 * source()
    return x


@torch.no_grad()
def ddim(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    source: Source,
    timesteps: list[int],
    *,
    eta: float = 0.0,
    callback: Callback | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021). Deterministic for eta = 0; eta = 1 adds as much noise as ancestral sampling.

    Args:
        eta: in [0, 1]; scales the noise added by each step.
    """
    _require_fraction("eta", eta)
    for index, t, s in _steps(timesteps):
        abar_t, abar_s = float(schedule.alphas_cumprod[t]), float(schedule.alphas_cumprod[s])
        x0, eps = denoise(x, t)
        if callback:
            callback(Step(index, t, s, x, x0))
        sigma2 = eta**2 * (1.0 - abar_s) / (1.0 - abar_t) * (1.0 - abar_t / abar_s)
        x = abar_s**0.5 * x0 + (1.0 - abar_s - sigma2) ** 0.5 * eps
        if sigma2 > 0:
            x = x + sigma2**0.5 * source()
    return x


@torch.no_grad()
def posterior(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    source: Source,
    timesteps: list[int],
    *,
    refresh: float = 0.1,
    callback: Callback | None = None,
) -> Tensor:
    """Keeps part of eps_hat and refreshes part with new noise, so that the noise in x_s keeps its variance.

    x_s = sqrt(abar_s) x0_hat + sqrt(1 - abar_s) (sqrt(1 - f) eps_hat + sqrt(f) z), f = 1 - (SNR_t / SNR_s)^refresh: the
    share f that is new follows the step's length, so that the same amount is renewed on the way from x_T to x_0 in
    however many steps. Beside the flow, each step then is one of Langevin dynamics of length f (1 - abar_s), whose
    error goes to 0 with f; a share fixed per step would not let it (data of deviation s came out at 0.7 s). That holds
    for Gaussian noise; for other noise it is as wrong as all samplers that add noise (docs/samplers.md).

    refresh = 0 is DDIM with eta = 0, refresh = 1 DDIM with eta = 1, which is DDPM's posterior; in between, it tends to
    DDIM with eta = sqrt(refresh) as steps become short.

    Args:
        refresh: in [0, 1]: share of the noise's variance renewed per unit of log-SNR, where steps are short.
    """
    _require_fraction("refresh", refresh)
    for index, t, s in _steps(timesteps):
        (signal_t, noise_t), (signal, noise) = (_signal_and_noise(schedule, step) for step in (t, s))
        x0, eps = denoise(x, t)
        if callback:
            callback(Step(index, t, s, x, x0))
        if s > 0 and refresh > 0:
            kept = (noise * signal_t / (noise_t * signal)) ** (2.0 * refresh)
            eps = kept**0.5 * eps + (1.0 - kept) ** 0.5 * source()
        x = signal * x0 + noise * eps
    return x


@torch.no_grad()
def heun(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    source: Source,
    timesteps: list[int],
    *,
    callback: Callback | None = None,
) -> Tensor:
    """Heun's second-order method, two network calls a step, one in the last, which gives the predicted x_0.

    In the angle phi of x = cos(phi) x_0 + sin(phi) eps, where the flow is dx / dphi = v = cos(phi) eps - sin(phi) x_0
    (Salimans and Ho 2022, appendix D) and a step has a length between 0 and pi / 2, abar_T = 0 included. Karras et al.
    2022, algorithm 1, integrate in sigma, which they bound by 80; a schedule's own goes to 20000 (cosine) and beyond.
    """
    for index, t, s in _steps(timesteps):
        (signal_t, noise_t), (signal_s, noise_s) = (_signal_and_noise(schedule, step) for step in (t, s))
        x0, eps = denoise(x, t)
        if callback:
            callback(Step(index, t, s, x, x0))
        if s == 0:
            return x0
        change = math.atan2(noise_s, signal_s) - math.atan2(noise_t, signal_t)
        slope = signal_t * eps - noise_t * x0
        x0, eps = denoise(x + change * slope, s)
        x = x + change * 0.5 * (slope + signal_s * eps - noise_s * x0)
    return x


@torch.no_grad()
def dpmpp_2m(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    source: Source,
    timesteps: list[int],
    *,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022): second order from the last two predictions of x_0, one call a step.

    First order in the first and the last step, as in diffusers.
    """
    previous: Tensor | None = None
    last_h = math.inf
    for index, t, s in _steps(timesteps):
        (signal_t, noise_t), (signal_s, noise_s) = (_signal_and_noise(schedule, step) for step in (t, s))
        x0, _ = denoise(x, t)
        if callback:
            callback(Step(index, t, s, x, x0))
        if s == 0:
            return x0
        shrink = noise_s * signal_t / (noise_t * signal_s)  # exp(-h), h the change of log(signal / noise)
        h = -math.log(shrink) if shrink > 0 else math.inf
        mean = x0
        if previous is not None and math.isfinite(last_h):
            mean = x0 + 0.5 * h / last_h * (x0 - previous)
        x = noise_s / noise_t * x + signal_s * (1.0 - shrink) * mean
        previous, last_h = x0, h
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "heun": heun,
    "posterior": posterior,
}


def get_sampler(method: str) -> Callable[..., Tensor]:
    """The sampler of that name.

    Raises:
        InputError: on an unknown name.
    """
    if method not in SAMPLERS:
        raise unknown("sampler method", method, SAMPLERS)
    return SAMPLERS[method]


def network_calls(method: str, num_inference_steps: int) -> int:
    """Network calls per image of that many steps: heun makes two in every step but the last."""
    return 2 * num_inference_steps - 1 if method == "heun" else num_inference_steps
