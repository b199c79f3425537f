"""A schedule: the coefficients a_t and b_t of x_t = a_t x_0 + b_t n for t = 0..T, in float64.

Arrays have T + 1 entries, and t is the index. Entry 0 is the clean image: a_0 = 1, b_0 = 0. (The code of DDPM and
diffusers count from 0: their entry t - 1 is our entry t.)
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from ngldm.diffusion.names import (
    BETA_END,
    BETA_START,
    NUM_TRAIN_TIMESTEPS,
    SCHEDULES,
    Shape,
    check_shape,
    needs_chain,
)
from ngldm.diffusion.schedules.curves import CURVES, POLYNOMIALS, constant, power
from ngldm.diffusion.schedules.interpolants import Coefficients, rectified_flow, scale_preserving, variance_exploding
from ngldm.io.errors import InputError, require_real, require_whole, unknown
from ngldm.io.limits import MAX_REPEATS, MAX_T


class Chain(NamedTuple):
    """The steps x_t = sqrt(alpha_t) x_(t-1) + sqrt(beta_t) z of a variance-preserving schedule: (T + 1,) each.

    Attributes:
        betas: variance that step t adds; betas[0] = 0.
        alphas: 1 - betas.
        alphas_cumprod: abar_t, the product of alphas up to t; decreasing from 1.
    """

    betas: Tensor
    alphas: Tensor
    alphas_cumprod: Tensor


@dataclass(frozen=True)
class Schedule:
    """The values of a diffusion with T steps: float64, on the CPU, indexed by t in 0..T. u = t / T.

    Attributes:
        signal: (T + 1,) a_t, the coefficient of x_0 in x_t.
        noise: (T + 1,) b_t, the coefficient of the noise.
        signal_rate, noise_rate: (T + 1,) da/du and db/du. a b' - a' b is above 0 for t >= 1.
        chain: the steps, for variance-preserving schedules (a^2 + b^2 = 1). None for the others.
    """

    signal: Tensor
    noise: Tensor
    signal_rate: Tensor
    noise_rate: Tensor
    chain: Chain | None = None
    _copies: dict[tuple[Hashable, torch.device, torch.dtype], Tensor] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def betas(self) -> Tensor:
        """`Chain.betas`. Raises InputError if the schedule is not variance preserving; so do the next two."""
        return self.require_chain("betas").betas

    @property
    def alphas(self) -> Tensor:
        """`Chain.alphas`."""
        return self.require_chain("alphas").alphas

    @property
    def alphas_cumprod(self) -> Tensor:
        """`Chain.alphas_cumprod`."""
        return self.require_chain("alphas_cumprod").alphas_cumprod

    def require_chain(self, who: str) -> Chain:
        """The chain.

        Args:
            who: what needs it, for the message.

        Raises:
            InputError: the schedule is not variance preserving.
        """
        if self.chain is None:
            raise needs_chain(who)
        return self.chain

    @property
    def power(self) -> Tensor:
        """(T + 1,) a^2 + b^2: the variance of x_t for x_0 and noise of variance 1."""
        return self.signal.square() + self.noise.square()

    @property
    def wronskian(self) -> Tensor:
        """(T + 1,) a b' - a' b: how fast x_0 turns into noise. It divides in the conversions of the velocity u."""
        return self.signal * self.noise_rate - self.signal_rate * self.noise

    @property
    def lambdas(self) -> Tensor:
        """(T + 1,) log(a / b), half the log-SNR: inf at t = 0, -inf at T where a_T = 0."""
        return self.signal.log() - self.noise.log()

    def nearest(self, lam: float) -> int:
        """The t in 1..T whose lambda is nearest to `lam`; of two equally near ones the less noisy."""
        levels = -self.lambdas[1:]
        right = int(torch.searchsorted(levels, -lam).clamp(1, max(len(levels) - 1, 1)))
        if len(levels) == 1 or -lam - levels[right - 1] <= levels[right] + lam:
            return right
        return right + 1

    def at(self, name: str, t: Tensor, like: Tensor) -> Tensor:
        """Values of an attribute at t, with the device and dtype of `like`, shaped to broadcast over it.

        The array is copied once for each device and dtype, so that a training step does not wait for a transfer.

        Args:
            name: e.g. "signal".
            t: (B,) integers in 0..T.
            like: (B, ...).
        """
        values = self.cached(name, lambda: getattr(self, name), like)
        return values[t.to(like.device)].reshape((-1,) + (1,) * (like.ndim - 1))

    def cached(self, key: Hashable, make: Callable[[], Tensor], like: Tensor) -> Tensor:
        """The result of `make`, with the device and dtype of `like`. It is made once for each key, device and dtype."""
        full = (key, like.device, like.dtype)
        if full not in self._copies:
            self._copies[full] = make().to(like.device, like.dtype)
        return self._copies[full]

    @property
    def num_train_timesteps(self) -> int:
        """T."""
        return len(self.signal) - 1

    @classmethod
    def from_betas(cls, betas: Tensor) -> "Schedule":
        """A schedule from its betas.

        Args:
            betas: (T,) beta_1..beta_T, each in (0, 1).

        Raises:
            InputError: a beta is out of range, or abar cannot be computed in float64.
        """
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise InputError("schedule: every beta_t must be strictly between 0 and 1")
        betas = torch.cat([torch.zeros(1, dtype=torch.float64), betas.double()])
        abar = torch.cumprod(1.0 - betas, dim=0)
        if not (bool((abar.diff() < 0).all()) and float(abar[-1]) > 0):
            raise InputError(
                "schedule: float64 is not precise enough: abar_T becomes 0, or a beta_t is too small to change abar_t; "
                "use fewer steps, a smaller beta_end or a larger beta_start"
            )
        return cls._of_chain(Chain(betas, 1.0 - betas, abar))

    @classmethod
    def _of_chain(cls, chain: Chain) -> "Schedule":
        """The schedule of a chain. The rates are those of the angle atan2(b, a), by central differences in t."""
        signal, noise = chain.alphas_cumprod.sqrt(), (1.0 - chain.alphas_cumprod).sqrt()
        (turn,) = torch.gradient(torch.atan2(noise, signal), spacing=1.0 / (len(signal) - 1))
        return cls(signal, noise, -noise * turn, signal * turn, chain)

    def with_zero_terminal_snr(self) -> "Schedule":
        """Shift and scale sqrt(abar_t) so that abar_T = 0 and abar_1 is unchanged (Lin et al. 2024, algorithm 1).

        Raises:
            InputError: T is 1, or the schedule is not variance preserving.
        """
        self.require_chain("schedule.zero_terminal_snr")
        if self.num_train_timesteps == 1:
            raise InputError("schedule.zero_terminal_snr: num_train_timesteps must be at least 2")
        root = self.signal[1:]
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        abar = torch.cat([torch.ones(1, dtype=torch.float64), root.square()])
        alphas = torch.cat([torch.ones(1, dtype=torch.float64), abar[1:] / abar[:-1]])
        return Schedule._of_chain(Chain(1.0 - alphas, alphas, abar))


@torch.inference_mode(False)  # a schedule that is made for sampling must serve a training too
def make_schedule(
    name: str = "linear",
    num_train_timesteps: int = NUM_TRAIN_TIMESTEPS,
    beta_start: float = BETA_START,
    beta_end: float = BETA_END,
    zero_terminal_snr: bool = False,
    degree: int = 1,
    **shape: Unpack[Shape],
) -> Schedule:
    """A schedule by name.

    Args:
        name: "constant" is beta_end at every t. "linear", "quadratic", "cubic" and "polynomial" (with `degree`) are
            polynomials in t from beta_start at t = 1 to beta_end at t = T (the paper; "linear" is DDPM's).
            "cosine" (Nichol and Dhariwal 2021), "sigmoid" (Jabri et al. 2023), "laplace" (Hang et al. 2024, with 5 % of
            the levels spread evenly over log-SNR from -10 to 10) and "edm" (Karras et al. 2022, eq. 5 at t / T) are
            defined by abar_t: they ignore beta_start and beta_end, and betas are at most 0.999.
            Three are not variance preserving, and have no betas: "rectified_flow" (a = 1 - t / T, b = t / T), "edm_ve"
            (a = 1, b = sigma; Karras et al. 2022, eq. 5) and "stable" (a^alpha + b^alpha = 1, a^alpha = abar of
            "cosine"; DLPM, Shariatian et al. 2025).
        num_train_timesteps: T >= 1.
        beta_start, beta_end: in (0, 1).
        degree: >= 0, for "polynomial" only: 0 is "constant", 1 "linear", 2 "quadratic", 3 "cubic".
        zero_terminal_snr: rescale so that x_T is pure noise: a_T = 0. "rectified_flow" is so without it.
        shape: `sigma_min`, `sigma_max` and `rho` of "edm_ve" (0.002, 80 and 7), `alpha` in (1, 2] of "stable" (1.8).

    Raises:
        InputError: on an unknown name or a value out of range.
    """
    num_train_timesteps = require_whole("schedule.num_train_timesteps", num_train_timesteps, 1, MAX_T)
    if not isinstance(zero_terminal_snr, bool):
        raise InputError(f"schedule.zero_terminal_snr: {zero_terminal_snr!r} must be true or false")
    degree = require_whole("schedule.degree", degree, 0, MAX_REPEATS)
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    chosen = check_shape(name, zero_terminal_snr, shape)
    if name == "rectified_flow":
        return Schedule(*rectified_flow(num_train_timesteps))
    if name == "edm_ve":
        return Schedule(*_edm_ve(num_train_timesteps, chosen))
    if name in POLYNOMIALS or name == "polynomial":
        for key, value in (("beta_start", beta_start), ("beta_end", beta_end)):
            if not 0.0 < require_real(f"schedule.{key}", value) < 1.0:
                raise InputError(f"schedule.{key}: {value} must be strictly between 0 and 1")
        u = torch.linspace(0.0, 1.0, num_train_timesteps, dtype=torch.float64)
        betas = POLYNOMIALS[name] if name in POLYNOMIALS else power(degree) if degree else constant
        schedule = Schedule.from_betas(betas(u, beta_start, beta_end))
    else:
        curve = CURVES["cosine" if name == "stable" else name]
        abar = curve(torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps)
        schedule = Schedule.from_betas((1.0 - abar[1:] / abar[:-1]).clamp(max=0.999))
    schedule = schedule.with_zero_terminal_snr() if zero_terminal_snr else schedule
    return Schedule(*_stable(schedule, chosen["alpha"])) if name == "stable" else schedule


def _edm_ve(num_train_timesteps: int, options: dict[str, float]) -> Coefficients:
    """The coefficients of "edm_ve", if float64 can tell its levels apart."""
    try:
        made = variance_exploding(num_train_timesteps, options["sigma_min"], options["sigma_max"], options["rho"])
    except OverflowError:
        made = None
    if made is None or not (bool((made.noise.diff() > 0.0).all()) and bool(made.noise_rate[1:].isfinite().all())):
        raise InputError(
            f"schedule.rho: {options['rho']}: float64 is not precise enough for {num_train_timesteps} different levels "
            f"from sigma_min = {options['sigma_min']} to sigma_max = {options['sigma_max']}; use a rho nearer to 7, "
            "fewer steps, or a wider range"
        )
    return made


def _stable(schedule: Schedule, alpha: float) -> Coefficients:
    rate = 2.0 * schedule.signal * schedule.signal_rate  # of abar = a^2
    return scale_preserving(schedule.alphas_cumprod, rate, alpha)
