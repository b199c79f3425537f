"""Samplers: they go from x_T down to a latent at t = 0. All have one signature and take any noise distribution.

    sampler(denoise, schedule, x, source, timesteps, callback=None, **options) -> x_0

`denoise` gives the x_0 and eps that the network predicts (`ngldm.sampling.denoiser`). `x` is x_T. `source()` returns
fresh noise of mean 0 and variance 1, for samplers that add noise. `timesteps` descend from T
(`ngldm.sampling.timesteps`). The caller decides how x_T and the noise are drawn. `stein` has a module of its own.

The deterministic samplers follow dx/dt = a'(t) E[x_0 | x_t] + b'(t) E[eps | x_t], where a and b are the coefficients
of x_0 and eps. If the conditional means are exact, the marginals of this flow are those of a x_0 + b eps for *any*
noise D (Albergo et al. 2023). So these samplers work with non-Gaussian noise without change. Of the samplers that add
noise, `stein` is right for every noise with a density, and the others for Gaussian noise: docs/samplers.md.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ngldm.diffusion.schedules import Schedule
from ngldm.io.errors import InputError, unknown
from ngldm.sampling.denoiser import Denoise
from ngldm.sampling.names import VARIANCES, require_fraction
from ngldm.sampling.randomness import Source
from ngldm.sampling.stein import stein
from ngldm.sampling.timesteps import Callback, Step, signal_and_noise, steps


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

    It needs a variance-preserving schedule: others have no betas.

    Args:
        variance: "beta" is nu^2 = beta_t (the paper's code). "posterior" is DDPM's smaller
            beta_t (1 - abar_s) / (1 - abar_t).
    """
    if variance not in VARIANCES:
        raise unknown("variance", variance, VARIANCES)
    abar = schedule.require_chain("sampler 'ancestral'").alphas_cumprod
    for index, t, s in steps(timesteps):
        abar_t, abar_s = float(abar[t]), float(abar[s])
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

    x_s = a_s x0_hat + b_s (sqrt(1 - f) eps_hat + sqrt(f) z), f = eta^2 (1 - SNR_t / SNR_s), for any a and b.

    Args:
        eta: in [0, 1]; scales the noise that each step adds.
    """
    require_fraction("eta", eta)
    for index, t, s in steps(timesteps):
        x0, eps = denoise(x, t)[:2]
        if callback:
            callback(Step(index, t, s, x, x0))
        x = ddim_step(schedule, (x0, eps), (t, s), source, eta)
    return x


def ddim_step(
    schedule: Schedule, predicted: tuple[Tensor, Tensor], step: tuple[int, int], source: Source, eta: float
) -> Tensor:
    """x_s of one step of `ddim`.

    Args:
        predicted: x_0 and eps from x_t.
        step: t and s.
        source: asked only if the step adds noise.
    """
    (signal_t, noise_t), (signal_s, noise_s) = (signal_and_noise(schedule, u) for u in step)
    x0, eps = predicted
    new = eta**2 * (1.0 - (noise_s * signal_t / (noise_t * signal_s)) ** 2)
    x: Tensor = signal_s * x0 + noise_s * (1.0 - new) ** 0.5 * eps
    if new * noise_s > 0:
        x = x + noise_s * new**0.5 * source()
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
        for index, t, s in steps(timesteps):
            signal, noise = signal_and_noise(schedule, s)
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

    x_s = a_s x0_hat + b_s (sqrt(1 - f) eps_hat + sqrt(f) z), f = 1 - (SNR_t / SNR_s)^refresh.
    The share f of new noise depends on the length of the step. So the total amount of new noise from x_T to x_0 is the
    same for any number of steps. Each step is then a step of the flow and a step of Langevin dynamics of length
    f b_s^2. The error of the Langevin step goes to 0 with f. With a fixed share for each step, the error would
    stay (data of deviation s came out at 0.7 s). This holds for Gaussian noise. For other noise this sampler has the
    same error as all samplers that add noise (docs/samplers.md). It needs a variance-preserving schedule.

    refresh = 0 is DDIM with eta = 0. refresh = 1 is DDIM with eta = 1, which is DDPM's posterior. For values between 0
    and 1, it approaches DDIM with eta = sqrt(refresh) as the steps get shorter.

    Args:
        refresh: in [0, 1]: the share of the noise's variance that is renewed per unit of log-SNR (for short steps).
    """
    require_fraction("refresh", refresh)
    schedule.require_chain("sampler 'posterior'")
    for index, t, s in steps(timesteps):
        (signal_t, noise_t), (signal, noise) = (signal_and_noise(schedule, step) for step in (t, s))
        x0, eps = denoise(x, t)[:2]
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
    """Heun's second-order method: two network calls per step, but one in the last, which returns the predicted x_0.

    x = R y with R = sqrt(a^2 + b^2), so y = cos(phi) x_0 + sin(phi) eps with the angle phi = atan2(b, a). The variable
    of integration is phi, and the flow is dy / dphi = v = cos(phi) eps - sin(phi) x_0 (Salimans and Ho 2022, appendix
    D; R is 1 there). The length of a step is between 0 and pi / 2 for every schedule, also if a_T = 0. Karras et al.
    2022, algorithm 1, integrate in sigma and limit it to 80. The sigma of a schedule can be 20000 (cosine) and more.
    """
    for index, t, s in steps(timesteps):
        (signal_t, noise_t), (signal_s, noise_s) = (signal_and_noise(schedule, step) for step in (t, s))
        x0, eps = denoise(x, t)[:2]
        if callback:
            callback(Step(index, t, s, x, x0))
        if s == 0:
            return x0
        radius_t, radius_s = math.hypot(signal_t, noise_t), math.hypot(signal_s, noise_s)
        change = math.atan2(noise_s, signal_s) - math.atan2(noise_t, signal_t)
        y, slope = x / radius_t, (signal_t * eps - noise_t * x0) / radius_t
        x0, eps = denoise(radius_s * (y + change * slope), s)[:2]
        x = radius_s * (y + change * 0.5 * (slope + (signal_s * eps - noise_s * x0) / radius_s))
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
    previous: Previous | None = None
    for index, t, s in steps(timesteps):
        x0 = denoise(x, t).x0
        if callback:
            callback(Step(index, t, s, x, x0))
        x, previous = dpmpp_2m_step(schedule, x, x0, (t, s), previous)
    return x


class Previous(NamedTuple):
    """What `dpmpp_2m` keeps of a step: the predicted x_0, and h, the change of log(a / b); inf where a_t is 0."""

    x0: Tensor
    h: float


def dpmpp_2m_step(
    schedule: Schedule, x: Tensor, x0: Tensor, step: tuple[int, int], previous: Previous | None
) -> tuple[Tensor, Previous]:
    """x_s of one step of `dpmpp_2m`, and what the next step needs of it.

    Args:
        x: x_t.
        x0: predicted from x_t.
        step: t and s; s = 0 gives x0.
        previous: of the step that led to t; None makes a step of first order.
    """
    (signal_t, noise_t), (signal_s, noise_s) = (signal_and_noise(schedule, u) for u in step)
    if step[1] == 0:
        return x0, Previous(x0, math.inf)
    shrink = noise_s * signal_t / (noise_t * signal_s)  # exp(-h)
    h = -math.log(shrink) if shrink > 0 else math.inf
    mean = x0
    if previous is not None and math.isfinite(previous.h):
        mean = x0 + 0.5 * h / previous.h * (x0 - previous.x0)
    return noise_s / noise_t * x + signal_s * (1.0 - shrink) * mean, Previous(x0, h)


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
    """Network calls per image, without guidance."""
    return len(denoised_at(method, list(range(num_inference_steps))))


def denoised_at(method: str, timesteps: list[int]) -> list[int]:
    """The timesteps at which a sampler asks the denoiser: heun asks twice in every step but the last, others once."""
    return [*timesteps, *timesteps[1:]] if method == "heun" else timesteps
