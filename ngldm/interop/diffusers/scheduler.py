"""A scheduler for diffusers' pipelines and training scripts, with the noise laws and samplers of ngldm.

diffusers counts timesteps from 0: its timestep t - 1 is our t. What is given to or taken from the scheduler is counted
as diffusers does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor

from ngldm.diffusion.forward import AnnealedMarginal
from ngldm.diffusion.objective import add_noise, velocity
from ngldm.diffusion.preconditioning import Network
from ngldm.diffusion.process import Diffusion
from ngldm.interop.diffusers.settings import Settings, for_diffusers, from_diffusers, make_diffusion, make_options, ours
from ngldm.io.errors import require_whole, unknown
from ngldm.sampling.classes.guidance import Guidance
from ngldm.sampling.denoiser import Denoise, Prediction, X0Handling, make_denoiser
from ngldm.sampling.names import adds_noise
from ngldm.sampling.options import SamplingOptions, check_sampler
from ngldm.sampling.randomness import Source, step_law
from ngldm.sampling.samplers import Previous, ddim_step, dpmpp_2m_step
from ngldm.sampling.stein import stein_step
from ngldm.sampling.timesteps import inference_timesteps, signal_and_noise

METHODS = ("ddim", "dpmpp_2m", "stein")


@dataclass
class SchedulerOutput(BaseOutput):  # type: ignore[misc]  # mypy does not read diffusers
    """What `Scheduler.step` returns.

    Attributes:
        prev_sample: (B, ...) x_s.
        pred_original_sample: (B, ...) the x_0 predicted from x_t.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor


class Scheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Noise of any law of ngldm, any of its schedules, and steps of `ddim`, `dpmpp_2m` or `stein`.

    All methods are those of diffusers' schedulers, but `draw_noise`.

    Args:
        num_train_timesteps: T.
        schedule: a name, or a map with `name` and other arguments of `ngldm.make_schedule`.
        noise: a name, or a map with `name` and `params`, the arguments of `ngldm.make_noise`.
        prediction_type: what the network predicts: "epsilon", "sample" (x_0), "v_prediction", or "flow_prediction"
            (a' x_0 + b' eps, where a' and b' are derivatives by t / T).
        method: "ddim", "dpmpp_2m" or "stein", which the network's K_bar or the noise must allow (docs/samplers.md).
        diffusion: `forward`, `coupling` and `stein_head` of the network's training; see `ngldm.Diffusion.make`.
        sampling: other attributes of `ngldm.sampling.options.SamplingOptions`, and `eta` of ddim and stein.

    Raises:
        InputError: on a value that is not allowed.
    """

    order = 1
    _compatibles: ClassVar[list[str]] = ["DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler"]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        schedule: str | Mapping[str, object] = "linear",
        noise: str | Mapping[str, object] = "gaussian",
        prediction_type: str = "epsilon",
        method: str = "dpmpp_2m",
        diffusion: Settings | None = None,
        sampling: Settings | None = None,
    ) -> None:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        self.diffusion: Diffusion = make_diffusion(
            num_train_timesteps, schedule, noise, prediction_type, diffusion or {}
        )
        self.options: SamplingOptions = make_options(method, sampling or {})
        check_sampler(self.diffusion, method, adds_noise({"method": method, **self.options.own}))
        limit = self.options.x0_limit
        kind = self.options.x0_handling
        self._handling = X0Handling(kind) if limit is None else X0Handling(kind, limit)
        self._visited = list(range(num_train_timesteps, 0, -1))
        self._previous: tuple[int, Previous] | None = None  # the t that the last step of dpmpp_2m led to
        self.num_inference_steps: int | None = None
        self.timesteps = torch.tensor(self._visited) - 1
        self.register_to_config(**for_diffusers(self.diffusion))

    @classmethod
    def from_config(
        cls, config: Mapping[str, object], return_unused_kwargs: bool = False, **changes: object
    ) -> "Scheduler | tuple[Scheduler, dict[str, object]]":
        """A scheduler from the configuration of one of these, or of one of diffusers' with betas.

        Args:
            changes: arguments of the scheduler that replace the configuration's.

        Raises:
            InputError: the other scheduler has settings that no schedule of ours has.
        """
        own = ours(config) if "schedule" in config or "beta_schedule" not in config else from_diffusers(config)
        made = super().from_config(own, return_unused_kwargs, **changes)
        return cast("Scheduler | tuple[Scheduler, dict[str, object]]", made)

    @property
    def init_noise_sigma(self) -> float:
        """The deviation of x_T for data of deviation 1: sqrt(a_T^2 + b_T^2)."""
        return math.sqrt(float(self.diffusion.schedule.power[-1]))

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        """Choose how many of the T timesteps are visited.

        Raises:
            InputError: it is not 1 to T.
        """
        steps = require_whole("num_inference_steps", num_inference_steps, 1)
        spacing, sigma_max = self.options.timestep_spacing, self.options.sigma_max
        self._visited = inference_timesteps(self.diffusion.schedule, steps, spacing, sigma_max)
        self._previous = None
        self.num_inference_steps = steps
        self.timesteps = (torch.tensor(self._visited) - 1).to(device)

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:
        """The sample as it is."""
        return sample

    def draw_noise(self, shape: Sequence[int], timesteps: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noise of the law for `add_noise`: (B, ...) float32 of mean 0 and variance 1, on the device of `timesteps`.

        Args:
            shape: (B, ...).
            timesteps: (B,) from 0 to T - 1. The law depends on them for the noise `annealed` and the forward process
                `markov` only.
            generator: on the device of `timesteps`.
        """
        return self.diffusion.forward.sample(shape, timesteps + 1, generator)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = a_t x_0 + b_t noise.

        Args:
            original_samples, noise: (B, ...).
            timesteps: (B,) from 0 to T - 1.
        """
        return add_noise(self.diffusion.schedule, original_samples, noise, timesteps + 1)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The target of a network with the prediction type "v_prediction": a_t noise - b_t sample."""
        return velocity(self.diffusion.schedule, sample, noise, timesteps + 1)

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        variance_noise: Tensor | Source | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[Tensor, Tensor]:
        """x_s, where s is the next of the visited timesteps, or the image after the last.

        Args:
            model_output: (B, C', ...) of the network for x_t: C' is C, or C and the channels of a head for K_bar.
            timestep: t, as diffusers counts it.
            sample: (B, C, ...) x_t.
            eta: in [0, 1], for ddim and stein; None is that of the configuration.
            generator: on the CPU, or one for each image: of the noise that the step adds, where it adds any.
            variance_noise: instead of `generator`: that noise, or a function that returns it.

        Raises:
            InputError: eta is given to a method that has none, or the step adds noise where the method must not.
        """
        predicted = self.denoiser(lambda x, steps: model_output)(sample, int(timestep) + 1)
        source = self._source(sample, generator, variance_noise)
        x = self.advance(predicted, timestep, sample, source, eta)
        return SchedulerOutput(x, predicted.x0) if return_dict else (x, predicted.x0)

    def denoiser(self, network: Network, guidance: Guidance | None = None) -> Denoise:
        """A network as a function from x_t and t, from 1 to T, to what `advance` takes; see `make_denoiser`.

        Args:
            network: network(x_t (B, ...), t (B,) from 1 to T).
            guidance: `network` is then that of a class.
        """
        diffusion = self.diffusion
        target, head = diffusion.objective.target, diffusion.stein_head
        return make_denoiser(network, diffusion.schedule, target, self._handling, head, guidance)

    def advance(
        self, predicted: Prediction, timestep: int | Tensor, sample: Tensor, source: Source, eta: float | None = None
    ) -> Tensor:
        """x_s as `step` has it, from a prediction of `denoiser` and a function that returns the step's noise."""
        t = int(timestep) + 1
        s = next((visited for visited in self._visited if visited < t), 0)
        return self._advance(predicted, (t, s), sample, self._eta(eta), source)

    def _eta(self, given: float | None) -> float:
        """The eta of a step."""
        method = self.options.method
        if given is None or (given == 0.0 and method == "dpmpp_2m"):  # diffusers' pipelines say 0 to all schedulers
            return float(self.options.own.get("eta", 1.0 if method == "stein" else 0.0))
        own = make_options(method, {"eta": given}).own
        check_sampler(self.diffusion, method, adds_noise({"method": method, **own}))
        return given

    def _source(
        self,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None,
        given: Tensor | Source | None,
    ) -> Source:
        """The noise that the step may ask for."""
        if isinstance(given, Tensor):
            return lambda: given
        if given is not None:
            return given
        choice = self.options.step_noise or ("gaussian" if self.options.method == "stein" else "own")
        law = step_law(choice, self.diffusion.noise)
        if isinstance(generator, list):
            return lambda: torch.cat([law.sample((1, *sample.shape[1:]), one) for one in generator]).to(sample)
        return lambda: law.sample(sample.shape, generator or torch.default_generator).to(sample)

    def _advance(
        self, predicted: Prediction, step: tuple[int, int], sample: Tensor, eta: float, source: Source
    ) -> Tensor:
        schedule, (t, s) = self.diffusion.schedule, step
        if self.options.method == "stein":
            return stein_step(schedule, predicted, step, source, eta, self.diffusion.noise.colour)
        if self.options.method == "dpmpp_2m":
            kept = self._previous
            x, now = dpmpp_2m_step(schedule, sample, predicted.x0, step, kept[1] if kept and kept[0] == t else None)
            self._previous = (s, now)
            return x
        if isinstance(self.diffusion.forward, AnnealedMarginal):
            signal, noise = signal_and_noise(schedule, s)
            return signal * predicted.x0 + noise * self.diffusion.forward.carry(predicted.eps, t, s)
        return ddim_step(schedule, (predicted.x0, predicted.eps), step, source, eta)
