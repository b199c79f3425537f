"""Samplers: they go from x_T down to a latent at t = 0. All have one signature and take any noise distribution.

    sampler(denoise, schedule, x, source, timesteps, callback=None, **options) -> x_0

`denoise` gives the x_0 and eps that the network predicts (`ngldm.sampling.denoiser`). `x` is x_T. `source()` returns
fresh noise of mean 0 and variance 1, for samplers that add noise. `timesteps` descend from T
(`ngldm.sampling.timesteps`). The caller decides how x_T and the noise are drawn.

The deterministic samplers follow dx/dt = a'(t) E[x_0 | x_t] + b'(t) E[eps | x_t], where a and b are the coefficients
of x_0 and eps. If the conditional means are exact, the marginals of this flow are those of a x_0 + b eps for *any*
noise D (Albergo et al. 2023). So these samplers work with non-Gaussian noise without change. Of the samplers that add
noise, `stein` is right for every noise with a density, and the others for Gaussian noise: docs/samplers.md.
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

Source = Callable[[], Tensor]  # each call returns fresh noise of mean 0 and variance 1, in the shape of x_t


@dataclass(frozen=True)
class Step:
    """The state that a callback receives before each step.

    Attributes:
        index: 0 .. len(timesteps) - 1.
        t, t_next: the step goes from t down to t_next (0 for the last step).
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
        raise InputError(f"{key}: {value} must be in [0, 1]")


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
    """The paper's Algorithm 2: DDPM's ancestral sampling, with fresh noise at every step except the last.

    It is right for Gaussian noise, as steps shrink. For other noise it is wrong: the noise of x_t becomes a sum of many
    draws, nearly Gaussian and of constant variance, and training showed one draw of D. `stein` is right there.

    With fewer steps than T, the beta of a step from t to s is that of the respaced chain, 1 - abar_t / abar_s
    (Nichol and Dhariwal 2021). With T steps it is beta_t, and the update is the paper's, with the factor
    1/sqrt(alpha_t) of the paper's code. The update is written as DDPM's posterior mean given x_0 and x_t, because this
    form is also valid at abar_t = 0.

    Args:
        variance: "beta" is nu^2 = beta_t (the paper's code). "posterior" is DDPM's smaller
            beta_t (1 - abar_s) / (1 - abar_t).
    """
    if variance not in VARIANCES:
        raise unknown("variance", variance, VARIANCES)
    for index, t, s in _steps(timesteps):
        abar_t, abar_s = float(schedule.alphas_cumprod[t]), float(schedule.alphas_cumprod[s])
        alpha = abar_t / abar_s
        beta = 1.0 - alpha
        x0 = denoise(x, t).x0
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
    """DDIM (Song et al. 2021). It is deterministic if eta = 0. eta = 1 adds as much noise as ancestral sampling.

    Args:
        eta: in [0, 1]; scales the noise that each step adds.
    """
    _require_fraction("eta", eta)
    for index, t, s in _steps(timesteps):
        abar_t, abar_s = float(schedule.alphas_cumprod[t]), float(schedule.alphas_cumprod[s])
        x0, eps = denoise(x, t)[:2]
        if callback:
            callback(Step(index, t, s, x, x0))
        sigma2 = eta**2 * (1.0 - abar_s) / (1.0 - abar_t) * (1.0 - abar_t / abar_s)
        x = abar_s**0.5 * x0 + (1.0 - abar_s - sigma2) ** 0.5 * eps
        if sigma2 > 0:
            x = x + sigma2**0.5 * source()
    return x


Carry = Callable[[Tensor, int, int], Tensor]  # (eps of x_t, t, s) -> the noise of x_s


def annealed_ddim(carry: Carry) -> Callable[..., Tensor]:
    """DDIM for a law of the noise that changes with t: x_s = a_s x0_hat + b_s carry(eps_hat, t, s).

    It adds no noise: the returned sampler takes `eta`, as `ddim` does, but only 0.
    """

    @torch.no_grad()
    def sampler(
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        source: Source,
        timesteps: list[int],
        *,
        eta: float = 0.0,
        callback: Callback | None = None,
    ) -> Tensor:
        if eta:
            raise InputError(f"eta: {eta} must be 0 where the law of the noise changes with t")
        for index, t, s in _steps(timesteps):
            signal, noise = _signal_and_noise(schedule, s)
            x0, eps = denoise(x, t)[:2]
            if callback:
                callback(Step(index, t, s, x, x0))
            x = signal * x0 + noise * carry(eps, t, s)
        return x

    return sampler


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
    """Keep a part of eps_hat and replace the rest with new noise, so that the variance of the noise in x_s is kept.

    x_s = sqrt(abar_s) x0_hat + sqrt(1 - abar_s) (sqrt(1 - f) eps_hat + sqrt(f) z), f = 1 - (SNR_t / SNR_s)^refresh.
    The share f of new noise depends on the length of the step. So the total amount of new noise from x_T to x_0 is the
    same for any number of steps. Each step is then a step of the flow and a step of Langevin dynamics of length
    f (1 - abar_s). The error of the Langevin step goes to 0 with f. With a fixed share for each step, the error would
    stay (data of deviation s came out at 0.7 s). This holds for Gaussian noise. For other noise this sampler has the
    same error as all samplers that add noise (docs/samplers.md).

    refresh = 0 is DDIM with eta = 0. refresh = 1 is DDIM with eta = 1, which is DDPM's posterior. For values between 0
    and 1, it approaches DDIM with eta = sqrt(refresh) as the steps get shorter.

    Args:
        refresh: in [0, 1]: the share of the noise's variance that is renewed per unit of log-SNR (for short steps).
    """
    _require_fraction("refresh", refresh)
    for index, t, s in _steps(timesteps):
        (signal_t, noise_t), (signal, noise) = (_signal_and_noise(schedule, step) for step in (t, s))
        x0, eps = denoise(x, t)[:2]
        if callback:
            callback(Step(index, t, s, x, x0))
        if s > 0 and refresh > 0:
            kept = (noise * signal_t / (noise_t * signal)) ** (2.0 * refresh)
            eps = kept**0.5 * eps + (1.0 - kept) ** 0.5 * source()
        x = signal * x0 + noise * eps
    return x


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
        _require_fraction("eta", eta)
        for index, t, s in _steps(timesteps):
            (signal_t, noise_t), (signal, noise) = (_signal_and_noise(schedule, step) for step in (t, s))
            x0, eps, k_bar = denoise(x, t)
            if k_bar is None:
                raise InputError("method: 'stein' needs K_bar of the noise, which this denoiser does not give")
            if callback:
                callback(Step(index, t, s, x, x0))
            new = eta**2 * (1.0 - (noise * signal_t / (noise_t * signal)) ** 2)
            if s > 0 and new > 0:
                eps = (1.0 - new) ** 0.5 * eps + colour((new * k_bar) ** 0.5 * source())
            x = signal * x0 + noise * eps
        return x

    return stein


stein = stein_with(lambda z: z)


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
    """Heun's second-order method: two network calls per step, but one in the last, which returns the predicted x_0.

    The variable of integration is the angle phi in x = cos(phi) x_0 + sin(phi) eps. The flow is then
    dx / dphi = v = cos(phi) eps - sin(phi) x_0 (Salimans and Ho 2022, appendix D). The length of a step is between 0
    and pi / 2, also if abar_T = 0. Karras et al. 2022, algorithm 1, integrate in sigma and limit it to 80. The sigma of
    a schedule can be 20000 (cosine) and more.
    """
    for index, t, s in _steps(timesteps):
        (signal_t, noise_t), (signal_s, noise_s) = (_signal_and_noise(schedule, step) for step in (t, s))
        x0, eps = denoise(x, t)[:2]
        if callback:
            callback(Step(index, t, s, x, x0))
        if s == 0:
            return x0
        change = math.atan2(noise_s, signal_s) - math.atan2(noise_t, signal_t)
        slope = signal_t * eps - noise_t * x0
        x0, eps = denoise(x + change * slope, s)[:2]
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
    """DPM-Solver++(2M) (Lu et al. 2022): second order, from the last two predictions of x_0; one network call per step.

    The first and the last step are of first order, as in diffusers.
    """
    previous: Tensor | None = None
    last_h = math.inf
    for index, t, s in _steps(timesteps):
        (signal_t, noise_t), (signal_s, noise_s) = (_signal_and_noise(schedule, step) for step in (t, s))
        x0 = denoise(x, t).x0
        if callback:
            callback(Step(index, t, s, x, x0))
        if s == 0:
            return x0
        shrink = noise_s * signal_t / (noise_t * signal_s)  # exp(-h), where h is the change of log(signal / noise)
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
    "stein": stein,
}


def get_sampler(method: str) -> Callable[..., Tensor]:
    """The sampler with this name.

    Raises:
        InputError: on an unknown name.
    """
    if method not in SAMPLERS:
        raise unknown("sampler method", method, SAMPLERS)
    return SAMPLERS[method]


def network_calls(method: str, num_inference_steps: int) -> int:
    """Network calls per image. heun makes two in every step except the last; the other methods make one per step."""
    return 2 * num_inference_steps - 1 if method == "heun" else num_inference_steps
